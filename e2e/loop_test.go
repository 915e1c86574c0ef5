// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
)

const (
	// loopTimeout is how long a cache may run whose upstream is the cache.
	loopTimeout = 10 * time.Second
	looped      = "Shutting down: a loop: queries in zone "
)

// loopFaults are templates with the cache as its own upstream, where rendering does not look.
var loopFaults = []struct{ name, variable, upstream, zone string }{
	{"link-local address", "__PILLAR__CLUSTER__DNS__", lab.LinkLocal.String(), ""}, // of three zones, whichever is seen first
	{"ClusterIP", "__PILLAR__CLUSTER__DNS__", lab.ClusterIP.String(), ""},
	{"resolv.conf", "__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf", `"."`},
}

// TestLoopEnvironment gives the cache itself as its upstream where rendering does look.
func TestLoopEnvironment(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	c := launch(t, l, options{firewall: lab.NFTables, addrs: dual,
		env: []string{fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", lab.LinkLocal)}})
	endsOfLoop(t, c, `169.254.20.10 of Service "kube-dns-upstream" is an address of this cache`)
	answered(t, l, dual)
}

// TestLoop has the process see that its queries come back. It ends: without a client, and with clients, whom the cluster DNS
// answers from then on.
func TestLoop(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, fault := range loopFaults {
			for load, addrs := range map[string][]netip.Addr{"no load": nil, "load": clusterIPs(dual)} {
				t.Run(fmt.Sprintf("%s/%s/%s", firewall, fault.name, load), func(t *testing.T) {
					l := lab.New(t, firewall)
					l.Node.ResolvConf(t, fmt.Sprintf("nameserver %s\n", lab.ClusterIP))
					loads := lab.StartAll(t, clients(l, addrs...)...)
					progress(t, loads, 4)
					c := launch(t, l, options{firewall: firewall, addrs: dual,
						base: strings.ReplaceAll(fourBlocks(dual), fault.variable, fault.upstream)})
					ended := endsOfLoop(t, c, looped+fault.zone)
					answered(t, l, dual)
					progress(t, loads, 10)
					for _, r := range stop(t, loads) {
						if lost := r.In(lab.Window{Begin: ended.Add(inFlight), End: time.Now()}); len(lost.Failures) > 0 {
							t.Errorf("the process ended at %s: %s", clock(ended), lost)
						}
					}
				})
			}
		}
	}
}

// TestLoopReload has a loop come with a reload, while clients keep connections to the cluster DNS in use.
func TestLoopReload(t *testing.T) {
	for _, fault := range loopFaults {
		t.Run(fault.name, func(t *testing.T) {
			l := lab.New(t, lab.NFTables)
			l.Node.ResolvConf(t, fmt.Sprintf("nameserver %s\n", lab.ClusterIP))
			text := strings.ReplaceAll(fourBlocks(dual), "__PILLAR__UPSTREAM__SERVERS__", lab.OutsideIP.String())
			c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: text})
			loads := lab.StartAll(t, clients(l, clusterIPs(dual)...)...)
			progress(t, loads, 4)
			c.setBase(t, strings.ReplaceAll(fourBlocks(dual), fault.variable, fault.upstream))
			endsOfLoop(t, c, looped+fault.zone)
			stop(t, loads)
			answered(t, l, dual)
		})
	}
}

// endsOfLoop waits until the process has ended as it must, saying why, and returns when that was.
func endsOfLoop(t *testing.T, c *cache, says string) time.Time {
	t.Helper()
	begin := time.Now()
	if code := c.Wait(t, loopTimeout); code != 1 {
		t.Errorf("exit code %d", code)
	}
	ended := time.Now()
	t.Logf("after %s", ended.Sub(begin))
	if n := strings.Count(c.Output()+c.Errors(), says); n != 1 {
		t.Errorf("said %d times: %s\n%s", n, says, c.Output())
	}
	noLink(t, c.lab)
	return ended
}
