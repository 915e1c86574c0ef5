// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// answer is what a question must give.
type answer struct {
	name    string
	qtype   uint16
	rcode   int
	answers int
	last    string // the last answer's data
}

var answersWanted = []answer{
	{"web.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1, "10.96.7.7"},
	{"web.default.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, 1, "fd00:96::77"},
	{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, dns.RcodeSuccess, 1, "0 100 80 web.default.svc.cluster.local."},
	{"dns-version.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, 1, `"1.1.0"`},
	{"alias1.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 4, "10.96.7.7"},
	{"nobody.wild.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, 0, ""},
	{"absent.default.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, 0, ""},
	{"7.7.96.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, 1, "web.default.svc.cluster.local."},
	{"7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, dns.RcodeSuccess, 1, "web.default.svc.cluster.local."},
	{"www.example.org.", dns.TypeA, dns.RcodeSuccess, 1, "198.51.100.7"},
	{"absent.test.", dns.TypeAAAA, dns.RcodeNameError, 0, ""},
}

// TestServe is the main job: the usual Corefile and arguments, all kinds of questions from pod and host, over both
// protocols, at all addresses. Only the first query for a name reaches the cluster DNS, over TCP, and no query of a client
// is tracked.
func TestServe(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, kubeProxy := range lab.Backends {
			t.Run(fmt.Sprintf("%s/kube-proxy %s", firewall, kubeProxy), func(t *testing.T) {
				t.Parallel()
				l := lab.New(t, kubeProxy)
				serve(t, start(t, l, options{firewall: firewall, addrs: dual}))
			})
		}
	}
}

// TestServeFamily is the same with one address family.
func TestServeFamily(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, family := range families[:2] {
			t.Run(string(firewall)+"/"+family.name, func(t *testing.T) {
				t.Parallel()
				serve(t, start(t, lab.New(t, firewall), options{firewall: firewall, addrs: family.addrs}))
			})
		}
	}
}

func serve(t *testing.T, c *cache) {
	l := c.lab
	c.settle(t)
	l.Node.ForgetConntrack(t, c.options.addrs...)
	for _, want := range answersWanted {
		for _, a := range c.options.addrs {
			for _, from := range []*netns.Namespace{l.Pod, l.Node} {
				for _, tcp := range []bool{false, true, false} {
					check(t, from, a, tcp, want)
				}
			}
		}
		once(t, l, want)
	}
	if tracked := l.Node.Conntrack(t, c.options.addrs...); len(tracked) > 0 {
		t.Errorf("%d tracked connections, as %s", len(tracked), tracked[0])
	}
	big(t, c)
	health := netip.AddrPortFrom(c.options.addrs[0], 8080)
	if page, err := l.Node.Get(fmt.Sprintf("http://%s/health", health)); err != nil || page != "OK" {
		t.Errorf("health: %q, %v", page, err)
	}
}

func check(t *testing.T, from *netns.Namespace, a netip.Addr, tcp bool, want answer) {
	t.Helper()
	m, err := client.Ask(from, client.Query{Server: client.Port53(a), TCP: tcp, Name: want.name, Type: want.qtype})
	what := fmt.Sprintf("%s %s from %s at %s, tcp=%t", want.name, dns.TypeToString[want.qtype], from.Name, a, tcp)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if m.Rcode != want.rcode || len(m.Answer) != want.answers || m.Truncated {
		t.Errorf("%s:\n%s", what, m)
		return
	}
	found := want.last == ""
	for _, rr := range m.Answer {
		found = found || dns.Field(rr, dns.NumField(rr)) == want.last || rr.String() == rr.Header().String()+want.last
	}
	if !found {
		t.Errorf("%s: no %s in\n%s", what, want.last, m)
	}
}

// once checks that a name came to its authority once: from the cache, over TCP if it is the cluster's.
func once(t *testing.T, l *lab.Lab, want answer) {
	t.Helper()
	server, proto, source := l.ClusterDNS, "tcp", []netip.Addr{nodeAtDNS, nodeAtDNS6}
	if want.last == "198.51.100.7" || want.name == "absent.test." {
		server, proto, source = l.External, "udp", []netip.Addr{nodeAtOutside, nodeAtOutside}
	}
	var seen []upstream.Seen
	harness.Until(t, 10*time.Second, want.name+" at its authority", func() error {
		if seen = ofType(server.Seen(want.name), want.qtype); len(seen) == 0 {
			return fmt.Errorf("%d queries of other types", len(server.Seen(want.name)))
		}
		return nil
	})
	if len(seen) != 1 || seen[0].Proto != proto || seen[0].Source != source[0] && seen[0].Source != source[1] {
		t.Errorf("%s was asked %d times, as %v", want.name, len(seen), seen[0])
	}
}

// The node's addresses as the pods and the outside see them.
var (
	nodeAtDNS     = netip.MustParseAddr("10.244.2.1")
	nodeAtDNS6    = netip.MustParseAddr("fd00:244:2::1")
	nodeAtOutside = netip.MustParseAddr("192.168.9.1")
)

func ofType(seen []upstream.Seen, qtype uint16) []upstream.Seen {
	var found []upstream.Seen
	for _, s := range seen {
		if s.Type == dns.TypeToString[qtype] {
			found = append(found, s)
		}
	}
	return found
}

// big asks for an answer that UDP cannot hold: it is cut there, and whole over TCP.
func big(t *testing.T, c *cache) {
	t.Helper()
	for _, a := range c.options.addrs {
		q := client.Query{Server: client.Port53(a), Name: "big.cluster.local.", Type: dns.TypeTXT, Size: 1232}
		m, err := client.Ask(c.lab.Pod, q)
		if err != nil || !m.Truncated {
			t.Errorf("big answer over UDP at %s: %v, %v", a, m, err)
			continue
		}
		if m.Compress = true; m.Len() > int(q.Size) {
			t.Errorf("%d bytes of answer over UDP at %s, %d asked for", m.Len(), a, q.Size)
		}
		q.TCP = true
		m, err = client.Ask(c.lab.Pod, q)
		if err != nil || len(m.Answer) != upstream.BigRecords {
			t.Errorf("big answer over TCP at %s: %v, %v", a, m, err)
		}
	}
}
