// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// linkName looks for another link of the name that the cache's will have.
func linkName(_ context.Context, e *Env) []Finding {
	all, err := e.Links()
	if err != nil || e.LinkKind == hostnet.None {
		return nil
	}
	for _, l := range all {
		// A dummy link with the cache's addresses alone is a leftover of k8s-dns-node-cache: the start removes it.
		if l.Name != e.LinkName || l.Ours || l.Type == "dummy" && len(l.Addresses) > 0 && e.onlyOwn(l) {
			continue
		}
		return one(Error, fmt.Sprintf("there is a link %s (type %s), which is not the cache's", l.Name, l.Type), "the cache does not start",
			fmt.Sprintf("remove it (ip link delete %s), or choose another name (-interfacename)", l.Name))
	}
	return nil
}

func (e *Env) onlyOwn(l Link) bool {
	return !slices.ContainsFunc(l.Addresses, func(a netip.Addr) bool { return !a.IsLinkLocalUnicast() && !slices.Contains(e.Addresses, a) })
}

// addressTaken looks for a link that carries an address of the cache.
func addressTaken(_ context.Context, e *Env) (found []Finding) {
	for _, a := range e.Addresses {
		l, ok := e.carrier(a)
		if !ok || l.Ours || e.LinkKind == hostnet.None || l.Name == e.LinkName {
			continue
		}
		f := Finding{Severity: Error, What: fmt.Sprintf("%s is on the link %s", a, l.Name), Why: "the cache refuses to start with an address that is another's",
			Do: "take the address off that link, or leave it out of -localip"}
		if l.Name == link.IPVS {
			f.Why = "kube-proxy in IPVS mode answers for each ClusterIP itself"
			f.Do = "leave the ClusterIP out (-localip 169.254.20.10, or auto), and name 169.254.20.10 to the pods (clusterDNS of the kubelet)"
		}
		found = append(found, f)
	}
	return found
}

// kubeProxy compares who answers for ClusterIPs with the addresses of the cache.
func kubeProxy(_ context.Context, e *Env) []Finding {
	mode := e.Mode()
	clusterIPs := slices.DeleteFunc(slices.Clone(e.Addresses), func(a netip.Addr) bool {
		return a != e.KubeDNS && !slices.Contains(e.ClusterDNS, a)
	})
	switch {
	case mode == proxymode.None:
		return one(Warning, "there is no trace of kube-proxy on this node",
			"who answers for ClusterIPs here may translate them before a packet reaches the cache; without such a program the cluster DNS cannot be reached",
			"if it is kube-proxy, look whether it runs; beside another program see docs/alternatives.md")
	case mode == proxymode.IPVS && len(clusterIPs) > 0:
		return one(Error, fmt.Sprintf("%s, and the cache is to serve the ClusterIP %s", mode, words.Join(clusterIPs)), "IPVS answers for a ClusterIP before the cache does",
			"leave the ClusterIP out (-localip 169.254.20.10, or auto), and name 169.254.20.10 to the pods (clusterDNS of the kubelet)")
	case mode == proxymode.Cilium && e.LinkKind != hostnet.None:
		return one(Warning, fmt.Sprintf("ClusterIPs are answered by %s", mode), "Cilium translates ClusterIPs before the node sees them, so the cache gets no queries to them",
			"use the overlay manifests/overlays/cilium")
	}
	return nil
}

// otherCache looks for another program's node cache.
func otherCache(_ context.Context, e *Env) (found []Finding) {
	for _, p := range e.processes() {
		if p.name == alias {
			found = append(found, Finding{Severity: Error, What: fmt.Sprintf("%s runs on this node (pid %s)", p.name, p.pid),
				Why: "two node caches on one node change each other's link and rules", Do: "remove its DaemonSet first, or take its place: docs/migration.md"})
		}
	}
	all, _ := e.Links() // an error is another check's
	for _, l := range all {
		if l.Type == "dummy" && !l.Ours && l.Name == e.LinkName && len(found) == 0 {
			found = append(found, Finding{Severity: Warning, What: fmt.Sprintf("the link %s is one of k8s-dns-node-cache", l.Name),
				Why: "if that cache still runs, both change each other's link and rules", Do: "remove its DaemonSet first: docs/migration.md"})
		}
	}
	return found
}

// resolvConf looks for servers that lead back to the cache.
func resolvConf(_ context.Context, e *Env) []Finding {
	c, err := dns.ClientConfigFromFile(e.ResolvConf)
	const why = "names outside the cluster are asked there"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(Error, e.ResolvConf+" is not there", why, "give the pod dnsPolicy: Default, or the file of the node")
	case err != nil:
		return one(Error, fmt.Sprintf("%s cannot be read: %v", e.ResolvConf, err), why, "mend the file of the node")
	case len(c.Servers) == 0:
		return one(Error, e.ResolvConf+" has no nameserver", why, "name a server in the file of the node")
	}
	var back []string
	for _, s := range c.Servers {
		a, err := netip.ParseAddr(s)
		if a = a.Unmap(); err == nil && (slices.Contains(e.Addresses, a) || slices.Contains(e.ClusterDNS, a) || a == e.KubeDNS) {
			back = append(back, s)
		}
	}
	switch {
	case len(back) == 0:
		return nil
	case len(back) == len(c.Servers):
		return one(Error, fmt.Sprintf("all nameservers of %s lead back to the cache: %s", e.ResolvConf, strings.Join(back, " ")),
			"a question for a name outside the cluster goes round in a circle, and gets no answer", "give the pod dnsPolicy: Default, and the node the address of another server")
	}
	return one(Warning, fmt.Sprintf("nameservers of %s lead back to the cache: %s", e.ResolvConf, strings.Join(back, " ")),
		"a question for a name outside the cluster may go round in a circle", "take them out of the file of the node")
}
