// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// answers asks what the Kubernetes DNS specification (1.1.0) promises, through the cache and of a cluster DNS directly.
func answers(t *testing.T, c *Cluster) {
	c.Kubectl(t, "apply", "-f", "testdata/services.yaml")
	first := c.StartPod(t, PodSpec{Name: "first", Node: c.Nodes[0], Hostname: "first", Subdomain: "members", Labels: "app: member"})
	second := c.StartPod(t, PodSpec{Name: "second", Node: c.Nodes[1], Hostname: "second", Subdomain: "members", Labels: "app: member"})
	direct := c.clusterDNSPod(t)
	pod := c.Nodes[1].Client
	harness.Until(t, 30*time.Second, "both members in the Service", func() error { return c.endpoints("members", 2) })
	servers := []string{DNSService, LinkLocal}
	if c.DualStack {
		servers = append(servers, DNSService6)
	}
	for _, q := range specification(c, first, second) {
		for _, tcp := range []bool{false, true} {
			want := ask(t, pod, client.Query{Server: client.Port53(direct), TCP: tcp, Name: q.name, Type: q.qtype})
			if problem := q.check(want); problem != "" {
				t.Errorf("the cluster DNS on %s %s: %s", q.name, dns.TypeToString[q.qtype], problem)
			}
			for _, server := range servers {
				got := ask(t, pod, client.Query{Server: client.Port53(netip.MustParseAddr(server)), TCP: tcp, Name: q.name, Type: q.qtype})
				if got, want := canonical(got), canonical(want); got != want {
					t.Errorf("%s %s of %s, tcp %v: the cache says\n%s\nand the cluster DNS\n%s", q.name, dns.TypeToString[q.qtype], server, tcp, got, want)
				}
			}
		}
	}
	searchPaths(t, c)
}

// endpoints counts the ready IPv4 endpoints of a Service. Asking DNS instead would leave the answer of too early in caches.
func (c *Cluster) endpoints(service string, want int) error {
	var list struct {
		Items []struct {
			AddressType string
			Endpoints   []struct{ Conditions struct{ Ready bool } }
		}
	}
	err := c.api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name="+service, &list)
	ready := 0
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready && slice.AddressType == "IPv4" {
				ready++
			}
		}
	}
	if err == nil && ready != want {
		err = fmt.Errorf("%d of %d", ready, want)
	}
	return err
}

// question is one line of the specification.
type question struct {
	name    string
	qtype   uint16
	records int      // how many are to be in the answer; -1: the name must not exist
	has     []string // what is to be in them
}

func (q question) check(m *dns.Msg) string {
	text := canonical(m)
	switch {
	case q.records < 0 && m.Rcode != dns.RcodeNameError, q.records >= 0 && m.Rcode != dns.RcodeSuccess,
		q.records >= 0 && len(m.Answer) != q.records:
		return "unexpected\n" + text
	}
	for _, s := range q.has {
		if !strings.Contains(text, s) {
			return "no " + s + " in\n" + text
		}
	}
	return ""
}

func specification(c *Cluster, first, second *Pod) []question {
	v6 := 0
	if c.DualStack {
		v6 = 1
	}
	dashed := strings.ReplaceAll(first.IP, ".", "-")
	reverse, err := dns.ReverseAddr(first.IP)
	if err != nil {
		panic(err)
	}
	return []question{
		{"dns-version.cluster.local.", dns.TypeTXT, 1, []string{"1.1.0"}},
		{"kubernetes.default.svc.cluster.local.", dns.TypeA, 1, []string{"10.96.0.1"}},
		{"KUBERNETES.Default.svc.cluster.LOCAL.", dns.TypeA, 1, []string{"10.96.0.1"}},
		{"web.default.svc.cluster.local.", dns.TypeA, 1, nil},
		{"web.default.svc.cluster.local.", dns.TypeAAAA, v6, nil},
		{"web.other.svc.cluster.local.", dns.TypeA, 1, nil},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, 1, []string{" 80 web.default.svc.cluster.local."}},
		{"members.default.svc.cluster.local.", dns.TypeA, 2, []string{first.IP, second.IP}},
		{"members.default.svc.cluster.local.", dns.TypeAAAA, 2 * v6, nil},
		{"first.members.default.svc.cluster.local.", dns.TypeA, 1, []string{first.IP}},
		{"second.members.default.svc.cluster.local.", dns.TypeA, 1, []string{second.IP}},
		{"_http._tcp.members.default.svc.cluster.local.", dns.TypeSRV, 2, []string{"7080 first.members", "7080 second.members"}},
		{"_dns._udp.members.default.svc.cluster.local.", dns.TypeSRV, 2, []string{"53 first.members"}},
		{reverse, dns.TypePTR, 2, []string{"first.members.default.svc.cluster.local."}},
		{"1.0.96.10.in-addr.arpa.", dns.TypePTR, 1, []string{"kubernetes.default.svc.cluster.local."}},
		{dashed + ".default.pod.cluster.local.", dns.TypeA, 1, []string{first.IP}},
		{"outside.default.svc.cluster.local.", dns.TypeCNAME, 1, []string{"www.example.org."}},
		{"outside.default.svc.cluster.local.", dns.TypeA, 2, []string{"www.example.org.", "198.51.100.7"}},
		{"nobody.default.svc.cluster.local.", dns.TypeA, -1, []string{"SOA"}},
		{"_https._tcp.web.default.svc.cluster.local.", dns.TypeSRV, -1, nil},
		{"web.nowhere.svc.cluster.local.", dns.TypeAAAA, -1, nil},
		{"www.example.org.", dns.TypeA, 1, []string{"198.51.100.7"}},
		{"www.example.com.", dns.TypeA, -1, nil},
	}
}

func ask(t *testing.T, p *Pod, q client.Query) *dns.Msg {
	t.Helper()
	msg, err := p.Ask(q)
	if err != nil {
		t.Fatalf("asking %s for %s: %v", q.Server, q.Name, err)
	}
	return msg
}

// canonical is an answer without what may differ: the TTLs, the order, the SOA's serial, and names that are asked for in
// upper case.
func canonical(m *dns.Msg) string {
	lines := []string{}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		rr = dns.Copy(rr)
		rr.Header().Ttl = 0
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 0
		}
		lines = append(lines, strings.ToLower(strings.ReplaceAll(rr.String(), "SOA", "soa")))
	}
	slices.Sort(lines)
	text := strings.Join(lines, "\n")
	return fmt.Sprintf("%s, truncated %v\n%s", dns.RcodeToString[m.Rcode], m.Truncated, strings.ReplaceAll(text, "soa", "SOA"))
}

// searchPaths looks partial names up, as programs do, also with more search domains than glibc's six of old.
func searchPaths(t *testing.T, c *Cluster) {
	t.Helper()
	many := c.StartPod(t, PodSpec{Name: "many-searches", Node: c.Nodes[0], Nameserver: DNSService, Searches: []string{
		"default.svc.cluster.local", "svc.cluster.local", "cluster.local", "a.example.com", "b.example.com", "c.example.com",
		"d.example.com", "other.svc.cluster.local", "example.org",
	}})
	for _, l := range []struct {
		from *Pod
		name string
		want bool
	}{
		{c.Nodes[0].Client, "web", true},
		{c.Nodes[0].Client, "web.other", true},
		{c.Nodes[1].HostClient, "web.other.svc", true},
		{c.Nodes[1].Client, "www.example.org", true},
		{c.Nodes[1].Client, "outside", true},
		{c.Nodes[0].Client, "nobody", false},
		{many, "web", true},
		{many, "www", true}, // by the ninth
	} {
		addrs, err := l.from.Lookup(l.name)
		if got := err == nil && len(addrs) > 0; got != l.want {
			t.Errorf("looking up %s in %s: %v, %v", l.name, l.from.Name, addrs, err)
		}
	}
}

// clusterDNSPod is the address of one pod of the cluster DNS.
func (c *Cluster) clusterDNSPod(t *testing.T) netip.Addr {
	t.Helper()
	pods, err := c.pods("kube-system", "k8s-app=kube-dns")
	if err != nil || len(pods) == 0 {
		t.Fatalf("no pod of the cluster DNS: %v", err)
	}
	return netip.MustParseAddr(pods[0].Status.PodIP)
}
