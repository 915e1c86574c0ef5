// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// TestPacketCache checks that the packet cache gets the queries at each address: of a new process, after a reload, and when
// another instance has come and gone.
func TestPacketCache(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	o := options{firewall: lab.NFTables, addrs: dual}
	first := start(t, l, o)
	for _, a := range dual {
		hitsAt(t, first, a)
	}
	first.reload(t)
	for _, a := range dual {
		hitsAt(t, first, a)
	}
	o.metrics = 9254
	second := start(t, l, o)
	bothAnswer(t, first, second)
	first.kill(t)
	for _, a := range dual {
		hitsAt(t, second, a)
	}
}

// TestPacketCacheBeside starts an instance without the packet cache beside one that has it, as an update that takes it out or
// goes back to an older version does. The new one has to hear of its own answers, or it would never be ready.
func TestPacketCacheBeside(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	o := options{firewall: lab.NFTables, addrs: dual}
	with := start(t, l, o)
	for _, a := range dual {
		hitsAt(t, with, a)
	}
	o.metrics, o.base = 9254, strings.ReplaceAll(fourBlocks(dual), "    packetcache\n", "")
	without := start(t, l, o)
	with.term(t)
	without.waitSteering(t, true, steeringTimeout)
	servedAgain(t, without)
}

// TestWhoAnswered asks the embedded template for the name of the server, in each server block, at each address and over both
// protocols. It is this host's name, and the packet cache is no worse for it. The cluster DNS, which answers after a kill, gives
// no name.
func TestWhoAnswered(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: string(corefiles.Kubernetes)})
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	q := client.Query{Type: dns.TypeA, NSID: true}
	for _, a := range dual {
		q.Server = client.Port53(a)
		hitsAt(t, c, a)
		for _, q.Name = range []string{"web.default.svc.cluster.local.", "7.7.96.10.in-addr.arpa.", "7.7.0.0.ip6.arpa.", "www.example.org."} {
			for _, q.TCP = range []bool{false, true} {
				m, err := client.Ask(l.Pod, q)
				if err != nil {
					t.Fatal(err)
				}
				if got := client.NSID(m); got != host {
					t.Errorf("%s at %s: answered by %q, want %q", q.Name, a, got, host)
				}
			}
		}
		hitsAt(t, c, a)
	}
	c.kill(t)
	q.Server, q.Name, q.TCP = client.Port53(lab.LinkLocal), "web.default.svc.cluster.local.", false
	harness.Until(t, 10*time.Second, "an answer of the cluster DNS", func() error {
		m, err := client.Ask(l.Pod, q)
		if err == nil && client.NSID(m) != "" {
			err = fmt.Errorf("answered by %q", client.NSID(m))
		}
		return err
	})
}

// hitsAt waits until, of the queries for one name, only the first goes through the plugins.
func hitsAt(t *testing.T, c *cache, a netip.Addr) {
	t.Helper()
	const queries = 10
	server := fmt.Sprintf("server=%q", "dns://"+client.Port53(a).String())
	round := 0
	harness.Until(t, 10*time.Second, fmt.Sprintf("hits at %s", a), func() error {
		round++
		before := c.counter(t, "coredns_packetcache_hits_total", server)
		for range queries {
			ask(t, c, a, fmt.Sprintf("round%d.wild.cluster.local.", round))
		}
		if n := c.counter(t, "coredns_packetcache_hits_total", server) - before; n < queries-2 {
			return fmt.Errorf("%g of %d", n, queries)
		}
		return nil
	})
}

// bothAnswer waits until each of two instances has answered queries at each address, whoever gets them.
func bothAnswer(t *testing.T, caches ...*cache) {
	t.Helper()
	for _, a := range dual {
		server := fmt.Sprintf("server=%q", "dns://"+client.Port53(a).String())
		for _, c := range caches {
			before := c.counter(t, "coredns_dns_requests_total", server)
			harness.Until(t, 10*time.Second, fmt.Sprintf("a query at %s, metrics port %d", a, c.options.metrics), func() error {
				ask(t, c, a, "web.default.svc.cluster.local.")
				if c.counter(t, "coredns_dns_requests_total", server) == before {
					return fmt.Errorf("none")
				}
				return nil
			})
		}
	}
}

func ask(t *testing.T, c *cache, a netip.Addr, name string) {
	t.Helper()
	if _, err := client.Ask(c.lab.Pod, client.Query{Server: client.Port53(a), Name: name, Type: dns.TypeA}); err != nil {
		t.Error(err)
	}
}

// counter returns the value of a counter that may not be there yet.
func (c *cache) counter(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	n, err := process.Metric(c.fetch(t), name, labels...)
	if err != nil {
		return 0
	}
	return n
}
