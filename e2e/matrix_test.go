// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// An event is something that happens to a cache that serves. It returns the cache that serves after it.
type event struct {
	name   string
	happen func(*testing.T, *cache) *cache
}

// events are all of them, with so many starts and stops.
func events(starts int) []event {
	return []event{
		{"serve", func(t *testing.T, c *cache) *cache { serve(t, c); return c }},
		{"start and stop", func(t *testing.T, c *cache) *cache { return startStop(t, c, starts) }},
		{"kill -9", killed},
		{"hang", hung},
		{"flush", flushed},
		{"reload", reloaded},
		{"two instances", surged},
	}
}

// TestMatrix tells each event with each kind of link and each backend, over all addresses.
func TestMatrix(t *testing.T) {
	for _, link := range []string{"tun", "dummy"} {
		t.Run(link, func(t *testing.T) {
			harness.Require(t)
			if link == "dummy" {
				lab.NeedsKernel(t, lab.HasDummy(t))
			}
			for _, firewall := range lab.Backends {
				t.Run(string(firewall), func(t *testing.T) {
					happen(t, lab.New(t, firewall), options{firewall: firewall, link: link, addrs: told(firewall, dual)}, events(1))
				})
			}
		})
	}
}

// told is the addresses that a story is told with: all, or in software emulation those of one family, another one with another
// backend.
func told(firewall lab.Backend, addrs []netip.Addr) []netip.Addr {
	if !emulated {
		return addrs
	}
	six := firewall == lab.IPTablesLegacy
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is6() != six })
}

// happen lets the events happen to a cache, one after the other, and looks at what stays.
func happen(t *testing.T, l *lab.Lab, o options, events []event) {
	before := l.Node.State(t)
	c := start(t, l, o)
	for _, e := range events {
		if !t.Run(e.name, func(t *testing.T) { c = e.happen(t, c) }) {
			return // the next event would begin in the middle of this one
		}
	}
	c.term(t)
	onlyFallback(t, c, before)
	cleaned(t, l, before)
}

// startStop stops the cache and starts it again, n times. Nobody notices, and the cluster DNS answers meanwhile.
func startStop(t *testing.T, c *cache, n int) *cache {
	loads := append(client.StartAll(t, clients(c.lab, c.options.addrs...)...), onePort(t, c)...)
	for range n {
		progress(t, loads, either(10, 4))
		c.term(t)
		progress(t, loads, either(10, 4))
		c = c.again(t)
	}
	progress(t, loads, 4)
	noFailure(t, stop(t, loads))
	bothAnswered(t, c.lab)
	return c
}

// onePort is clients in a pod that ask the cache's own address and the ClusterIP from one source port: the cluster DNS sees two
// flows that differ in nothing.
func onePort(t *testing.T, c *cache) (loads []*client.Load) {
	t.Helper()
	pairs := map[netip.Addr]netip.Addr{lab.LinkLocal: lab.ClusterIP, lab.LinkLocal6: lab.ClusterIP6}
	for _, own := range c.options.addrs {
		clusterIP, ok := pairs[own]
		if !ok {
			continue
		}
		for _, a := range []netip.Addr{own, clusterIP} {
			name := client.Unique(fmt.Sprintf("port%d", len(loads)))
			p := client.Probe{From: c.lab.Pod, Target: a, Socket: client.Long, LocalPort: 20053, Interval: interval, Timeout: patience, Name: name}
			loads = append(loads, p.Start(t))
			progress(t, loads, 1) // two first packets at a time can be mapped to one port, and one of them dropped
		}
	}
	return loads
}

// killed ends the process. With a TUN link what is in flight is lost; a dummy link is there until the lease runs out.
func killed(t *testing.T, c *cache) *cache {
	c.settle(t)
	c.lab.ClusterDNS.Forget()
	probes := clients(c.lab, c.options.addrs...)
	quick := probes[0] // UDP from the pod at the first address
	quick.Interval, quick.Name = 20*time.Millisecond, client.Always("web.default.svc.cluster.local.")
	loads := client.StartAll(t, append(probes, quick)...)
	progress(t, loads, 5)
	if _, direct := waitSources(t, c.lab.ClusterDNS, ".c0-0.", 3, 0); direct > 0 {
		t.Errorf("while the cache was there, the cluster DNS was asked %d times by the pod", direct)
	}
	kill := c.kill(t)
	progress(t, loads, 5)
	waitSources(t, c.lab.ClusterDNS, ".c0-0.", 3, 3) // while the cache was away
	c = c.again(t)
	progress(t, loads, 5)
	reports := stop(t, loads)
	t.Logf("killed at %s, every 20 ms: %s", clock(kill.Begin), reports[len(reports)-1])
	if c.options.link != "dummy" {
		inFlightOnly(t, reports, loads, []client.Window{kill})
		return c
	}
	for _, r := range reports {
		if lost := r.Outside(client.Window{Begin: kill.Begin.Add(-flight(r)), End: kill.Begin.Add(hangTimeout + r.Stall)}); len(lost.Failures) > 0 {
			t.Errorf("killed at %s: %s", clock(kill.Begin), lost)
		}
	}
	return c
}

// flushed takes the rules away, as a restart of the host's own firewall does.
func flushed(t *testing.T, c *cache) *cache {
	repaired(t, c, flushOf(c.options.firewall))
	return c
}

// reloaded reloads the configuration; the network stays as it is.
func reloaded(t *testing.T, c *cache) *cache {
	c.settle(t)
	handles := handlesOf(t, c.lab)
	loads := client.StartAll(t, clients(c.lab, c.options.addrs...)...)
	for range 3 {
		progress(t, loads, 4)
		c.reload(t)
	}
	progress(t, loads, 4)
	acceptedOnly(t, loads, stop(t, loads))
	if got := handlesOf(t, c.lab); got != handles {
		t.Errorf("rules were made anew:\n%s\nbefore:\n%s", got, handles)
	}
	return c
}

// surged starts a second instance and ends the first one, as an update does.
func surged(t *testing.T, first *cache) *cache {
	loads := client.StartAll(t, clients(first.lab, first.options.addrs...)...)
	o := first.options
	o.metrics = 9254
	second := start(first.owner, first.lab, o)
	bothServe(t, first, second)
	first.term(t)
	second.waitSteering(t, true, againTimeout)
	progress(t, loads, 5)
	servedAgain(t, second)
	noFailure(t, stop(t, loads))
	return second
}
