// SPDX-License-Identifier: Apache-2.0

// Package manifests holds the YAML files of this directory, and fills them in.
//
// Kustomize reads the files unchanged. nodelocaldns.yaml, for users of the sed lines in the Kubernetes guide, and the output of
// "nodelocaldns render manifests" are made from the same files by replacing words.
package manifests

//go:generate go test . -run Current -update

import (
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

//go:embed common base overlays/cilium
var files embed.FS

// Mode is the program that sends DNS to the cache.
type Mode string

// The modes. IPTables is also for kube-proxy in nftables mode.
const (
	IPTables Mode = "iptables"
	IPVS     Mode = "ipvs"
	Cilium   Mode = "cilium"
)

// Image is the image in the files.
const Image = "ghcr.io/nodelocaldns/nodelocaldns:dev"

// DefaultImage is the image that render manifests names without the flag -image. `make image` sets it to the name of the image
// that the program becomes a part of.
var DefaultImage = Image

// Values holds the properties of a cluster.
type Values struct {
	Mode          Mode
	LocalIPs      []netip.Addr // the cache's own addresses; not used with Cilium
	DNSServers    []netip.Addr // the ClusterIPs of kube-dns, which the cache takes over in mode iptables
	Service       string       // the name of kube-dns; used with Cilium only
	ClusterDomain string
	Image         string
}

// Render returns the manifest for a cluster. The cache replaces the remaining variables when it starts.
func Render(v Values) (string, error) {
	if v.Mode == Cilium {
		return strings.NewReplacer(
			Image, v.Image,
			"- cluster.local", "- "+v.ClusterDomain,
			"serviceName: kube-dns", "serviceName: "+v.Service,
		).Replace(join(parts(template(), "overlays/cilium/daemonset.yaml", "overlays/cilium/policy.yaml"))), nil
	}
	addrs, err := v.addresses()
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(
		localDNS+","+dnsServer+"\"\n", list(addrs)+"\"\n"+v.fallback(),
		localDNS+","+dnsServer, list(addrs),
		localDNS+" "+dnsServer, words.Join(addrs),
		localDNS+":", words.Host(addrs[0])+":",
		localDNS, addrs[0].String(),
		dnsDomain, v.ClusterDomain,
		Image, v.Image,
	).Replace(singleFile()), nil
}

// fallback returns the arguments that name a ClusterIP of each family, if the cache has own addresses of both families. The cache
// itself can find a ClusterIP of one family only.
func (v Values) fallback() string {
	if len(family.Among(v.LocalIPs)) < 2 || len(family.Among(v.DNSServers)) < 2 {
		return ""
	}
	return "        - -fallback\n        - \"" + list(v.DNSServers) + "\"\n"
}

// addresses returns the addresses of the cache. Its own addresses come first: the probes for health and readiness use the first.
func (v Values) addresses() ([]netip.Addr, error) {
	switch {
	case len(v.LocalIPs) == 0:
		return nil, errors.New("the cache has no address of its own")
	case v.Mode == IPVS:
		return v.LocalIPs, nil
	case v.Mode != IPTables:
		return nil, fmt.Errorf("unknown mode %q", v.Mode)
	case len(v.DNSServers) == 0:
		return nil, errors.New("kube-dns has no ClusterIP")
	}
	return slices.Concat(v.LocalIPs, v.DNSServers), nil
}

// list returns addrs as a flag has them.
func list(addrs []netip.Addr) string { return strings.ReplaceAll(words.Join(addrs), " ", ",") }

// Users replace these variables with sed before they apply the manifest.
const (
	localDNS  = "__PILLAR__LOCAL__DNS__"
	dnsServer = "__PILLAR__DNS__SERVER__"
	dnsDomain = "__PILLAR__DNS__DOMAIN__"
)

const licence = "# SPDX-License-Identifier: Apache-2.0\n"

const singleFileHead = licence + `# The node-local DNS cache in one file. Fill in the variables with the sed lines of the Kubernetes guide to NodeLocal
# DNSCache and apply it, or let "nodelocaldns render manifests" fill them in.
# Made by go generate ./manifests from the files in common and base.
`

const configMapHead = licence + `# Made by go generate ./manifests from corefiles/kubernetes.corefile. The cache fills in the variables when it starts.
apiVersion: v1
kind: ConfigMap
metadata:
  name: node-local-dns
  namespace: kube-system
  labels:
    k8s-app: node-local-dns
data:
  Corefile: |
`

// singleFile returns nodelocaldns.yaml: the parts of base with variables in the place of values.
func singleFile() string {
	daemonSet := strings.NewReplacer(
		"169.254.20.10,$(KUBE_DNS_SERVICE_HOST)", localDNS+","+dnsServer,
		"169.254.20.10", localDNS,
		"- cluster.local", "- "+dnsDomain,
	).Replace(read("base/daemonset.yaml"))
	return singleFileHead + join(append(parts(referenceTemplate()), daemonSet))
}

// template returns the Corefile of the kustomize bases. The cache replaces all its variables.
func template() string { return string(corefiles.Kubernetes) }

// referenceTemplate returns template for the sed lines. sed replaces localDNS with the link-local address only, so dnsServer must
// follow for the ClusterIP. If sed leaves one of the two variables, the cache replaces it.
func referenceTemplate() string {
	return strings.ReplaceAll(template(), "bind "+localDNS, "bind "+localDNS+" "+dnsServer)
}

// configMap returns the ConfigMap that head begins, with a Corefile.
func configMap(head, corefile string) string {
	var b strings.Builder
	b.WriteString(head)
	for line := range strings.Lines(corefile) {
		if line != "\n" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// parts returns the objects of common with the given Corefile, and those of the files named.
func parts(corefile string, names ...string) []string {
	p := []string{read("common/serviceaccount.yaml"), read("common/upstream.yaml"), configMap(configMapHead, corefile), read("common/metrics.yaml")}
	for _, name := range names {
		p = append(p, read(name))
	}
	return p
}

// join joins several files to one.
func join(parts []string) string {
	for i, p := range parts {
		parts[i] = strings.TrimPrefix(p, licence)
	}
	return strings.Join(parts, "---\n")
}

func read(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}
