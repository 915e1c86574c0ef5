// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// families is the addresses that stories about coming and going are told with.
var families = []struct {
	name  string
	addrs []netip.Addr
}{
	{"IPv4", ipv4},
	{"IPv6", ipv6},
	{"both", dual},
}

// clusterIPs is those of the addresses that answer without the cache.
func clusterIPs(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a == lab.LinkLocal || a == lab.LinkLocal6 })
}

// TestRestart starts and stops the cache ten times under load. No query fails, and nothing stays on the node.
func TestRestart(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, family := range families {
			t.Run(string(firewall)+"/"+family.name, func(t *testing.T) {
				l := lab.New(t, firewall)
				before := l.Node.State(t)
				loads := client.StartAll(t, clients(l, clusterIPs(family.addrs)...)...)
				cycles := 10
				if family.name != "IPv4" {
					cycles = 3
				}
				c := start(t, l, options{firewall: firewall, addrs: family.addrs, fallback: "none"})
				for i := range cycles {
					if i > 0 {
						c = c.again(t)
					}
					progress(t, loads, 6)
					c.term(t)
					progress(t, loads, 6)
				}
				noFailure(t, stop(t, loads))
				bothAnswered(t, l)
				if left := l.Node.State(t).Without(before); len(left) > 0 {
					t.Errorf("left on the node:\n%s", left)
				}
			})
		}
	}
}

// bothAnswered checks that the pod's first UDP probe was served by the cache and by the cluster DNS itself.
func bothAnswered(t *testing.T, l *lab.Lab) {
	t.Helper()
	few := either(10, 3)
	waitSources(t, l.ClusterDNS, ".c0-0.", few, few)
}

// TestRestartLinkLocal is the same at the link-local address, where the fallback table answers meanwhile. It is all that
// stays, and a line of the log says so; cleanup takes it away.
func TestRestartLinkLocal(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			before := l.Node.State(t)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			loads := client.StartAll(t, clients(l, dual...)...)
			for i := range 5 {
				if i > 0 {
					c = c.again(t)
				}
				progress(t, loads, 10)
				c.term(t)
				progress(t, loads, 10)
			}
			noFailure(t, stop(t, loads))
			bothAnswered(t, l)
			onlyFallback(t, c, before)
			l.Node.Exec(t, "", harness.NodeLocalDNS(t), "cleanup")
			if left := l.Node.State(t).Without(before); len(left) > 0 {
				t.Errorf("left on the node after cleanup:\n%s", left)
			}
		})
	}
}

func onlyFallback(t *testing.T, c *cache, before netns.State) {
	t.Helper()
	left := c.lab.Node.State(t).Without(before)
	if fallback := left.With("fallback"); len(fallback) == 0 || len(fallback) != len(left) {
		t.Errorf("want the fallback table on the node and nothing else:\n%s", left)
	}
	said := 0
	for line := range strings.Lines(c.Output()) {
		if strings.Contains(line, "fallback table") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d log lines about the table that stays:\n%s", said, c.Output())
	}
}

// TestLeftToAnother lets another program's cache have the link-local address after ours has left: it is asked, and no longer
// the cluster DNS.
func TestLeftToAnother(t *testing.T) {
	const corefile = `.:53 {
    bind 169.254.20.10
    template IN A {
        answer "{{ .Name }} 60 IN A 198.51.100.9"
    }
}
`
	l := lab.New(t, lab.NFTables)
	start(t, l, options{firewall: lab.NFTables}).term(t)
	path := filepath.Join(harness.Dir(t), "Corefile")
	harness.Replace(t, path, corefile)
	l.Node.Exec(t, "", "ip", "addr", "add", "169.254.20.10/32", "dev", "lo")
	process.Start(t, l.Node, process.Command{Path: harness.NodeLocalDNS(t), Args: []string{"-conf", path, "-quiet"}})
	for _, tcp := range []bool{false, true} {
		for _, from := range []*netns.Namespace{l.Pod, l.Node} {
			harness.Until(t, 20*time.Second, "answer of the other program", func() error {
				m, err := client.Ask(from, client.Query{Server: client.Port53(lab.LinkLocal), TCP: tcp, Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
				if err == nil && (len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "198.51.100.9")) {
					err = fmt.Errorf("%s", m)
				}
				return err
			})
		}
	}
}

// TestRestartInFlight stops the cache while it waits for slow answers: each query that it has taken is answered.
func TestRestartInFlight(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			l.Slow.Delay(400 * time.Millisecond)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			var probes []client.Probe
			for _, p := range clients(l, dual...) {
				tag := p.String()
				p.Interval = 100 * time.Millisecond
				p.Name = func(i int) string { return upstream.SlowName(tag, i) }
				probes = append(probes, p)
			}
			loads := client.StartAll(t, probes...)
			for i := range 2 {
				if i > 0 {
					c = c.again(t)
				}
				progress(t, loads, 10)
				c.term(t)
				progress(t, loads, 10)
			}
			noFailure(t, stop(t, loads))
		})
	}
}
