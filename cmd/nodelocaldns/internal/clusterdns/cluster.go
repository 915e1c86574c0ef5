// SPDX-License-Identifier: Apache-2.0

// Package clusterdns has the subcommands that depend on a cluster and its nodes: they ask it for the cluster DNS, and name the
// cache to it.
package clusterdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/kubectl"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
	"github.com/nodelocaldns/nodelocaldns/manifests"
)

// cluster finds out what a manifest depends on.
type cluster struct {
	kubectl kubectl.Kubectl
	found   func(what, where string) // is told of each find
}

var (
	// proxyMode is the line of KubeProxyConfiguration; iptables is the default.
	proxyMode = regexp.MustCompile(`(?m)^mode:[ \t]*["']?([A-Za-z]*)["']?[ \t]*$`)
	// kubernetesZone is the zone of the kubernetes plugin in CoreDNS's Corefile.
	kubernetesZone = regexp.MustCompile(`(?m)^[ \t]*kubernetes[ \t]+([^ \t\n{]+)`)
)

// mode finds out who balances Services. Cilium comes first: where it does, a ConfigMap of kube-proxy may be left from before.
func (c cluster) mode() (manifests.Mode, error) {
	maps, err := objects(c.kubectl, "configmap", "cilium-config", "kube-proxy", "kube-proxy-config")
	if err != nil {
		return "", err
	}
	for _, m := range maps {
		// Older versions of Cilium had more words for "handles the ClusterIPs of pods".
		if m.Metadata.Name == "cilium-config" && slices.Contains([]string{"true", "strict"}, m.Data["kube-proxy-replacement"]) {
			if m.Data["enable-local-redirect-policy"] != "true" {
				return "", errors.New("kube-proxy is replaced by Cilium, whose local redirect policies are off: enable them " +
					"(Helm: localRedirectPolicies.enabled=true)")
			}
			c.found("Cilium in the place of kube-proxy", "ConfigMap kube-system/cilium-config")
			return manifests.Cilium, nil
		}
	}
	for _, m := range maps {
		for key, text := range m.Data {
			if strings.Contains(text, "KubeProxyConfiguration") {
				return c.proxyMode(text, fmt.Sprintf("ConfigMap kube-system/%s, %s", m.Metadata.Name, key))
			}
		}
	}
	return "", errors.New("there is no ConfigMap kube-proxy in kube-system that says it")
}

func (c cluster) proxyMode(config, where string) (manifests.Mode, error) {
	mode := "iptables"
	if m := proxyMode.FindStringSubmatch(config); m != nil && m[1] != "" {
		mode = strings.ToLower(m[1])
	}
	of := map[string]manifests.Mode{"iptables": manifests.IPTables, "nftables": manifests.IPTables, "ipvs": manifests.IPVS}[mode]
	if of == "" {
		return "", fmt.Errorf("unknown mode %q in %s", mode, where)
	}
	c.found("kube-proxy mode "+mode, where)
	return of, nil
}

// dnsService finds the Service of the cluster DNS and its ClusterIPs.
func (c cluster) dnsService() (name string, addrs []netip.Addr, err error) {
	all, err := objects(c.kubectl, "service", "--selector", "k8s-app=kube-dns")
	if err != nil {
		return "", nil, err
	}
	// The Service kube-dns-upstream of the manifests has the same pods and the label, and a ClusterIP that must not be taken
	// over.
	services := slices.DeleteFunc(all, func(s object) bool {
		return s.Metadata.Name == "kube-dns-upstream" || s.Spec.ClusterIP == "None"
	})
	if len(services) != 1 {
		return "", nil, fmt.Errorf("%d Services in kube-system have the label k8s-app=kube-dns, not one", len(services))
	}
	name = services[0].Metadata.Name
	ips := services[0].Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{services[0].Spec.ClusterIP}
	}
	if addrs, err = options.Addrs(strings.Join(ips, ",")); err != nil {
		return "", nil, fmt.Errorf("reading the ClusterIPs of Service %s: %w", name, err)
	}
	c.found("cluster DNS "+words.Join(addrs), "Service kube-system/"+name)
	return name, addrs, nil
}

// domain finds the cluster domain: CoreDNS serves it, and the kubelet tells it to the pods.
func (c cluster) domain() (string, error) {
	maps, err := objects(c.kubectl, "configmap", "coredns")
	if err != nil {
		return "", err
	}
	for _, m := range maps {
		for _, z := range kubernetesZone.FindAllStringSubmatch(m.Data["Corefile"], -1) {
			if domain, err := options.Domain(z[1]); err == nil && !strings.HasSuffix(domain, ".arpa") {
				c.found("cluster domain "+domain, "ConfigMap kube-system/coredns")
				return domain, nil
			}
		}
	}
	return c.kubeletDomain()
}

// kubeletDomain asks the kubelet of some node for its configuration.
func (c cluster) kubeletDomain() (string, error) {
	var nodes list
	if err := c.kubectl.Get(context.Background(), &nodes, "--raw", "/api/v1/nodes?limit=1"); err != nil {
		return "", err
	}
	if len(nodes.Items) == 0 {
		return "", errors.New("the cluster has no node")
	}
	name := nodes.Items[0].Metadata.Name
	var config struct {
		KubeletConfig struct{ ClusterDomain string }
	}
	if err := c.kubectl.Get(context.Background(), &config, "--raw", "/api/v1/nodes/"+url.PathEscape(name)+"/proxy/configz"); err != nil {
		return "", err
	}
	domain, err := options.Domain(config.KubeletConfig.ClusterDomain)
	if err != nil {
		return "", fmt.Errorf("the kubelet of node %s has none", name)
	}
	c.found("cluster domain "+domain, "the kubelet of node "+name)
	return domain, nil
}

// object has those fields of the API's objects that are used here.
type object struct {
	Metadata struct{ Name string }
	Data     map[string]string // of a ConfigMap
	Spec     struct {          // of a Service
		ClusterIP  string
		ClusterIPs []string
	}
}

// list is what kubectl prints for several objects; for one it prints the object.
type list struct {
	Items []object
	object
}

// objects asks for objects of kube-system, and ignores those that do not exist.
func objects(k kubectl.Kubectl, args ...string) ([]object, error) {
	var l list
	err := k.Get(context.Background(), &l, append(args, "--namespace", "kube-system", "--ignore-not-found", "--output", "json")...)
	if l.Metadata.Name != "" {
		return []object{l.object}, err
	}
	return l.Items, err
}
