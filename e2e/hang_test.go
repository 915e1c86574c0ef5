// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// hangTimeout bounds the time for which a hanging cache may hold up the node's DNS: the lease and some.
const hangTimeout = 4 * time.Second

// offTimeout bounds the wait for a cache that takes steering off. Whether it does in time, the clients see.
var offTimeout = either(20*time.Second, time.Minute)

// impatience is the timeout of clients that are to see an outage at its length. In software emulation a good answer may take longer than half a second.
var impatience = either(500*time.Millisecond, 1500*time.Millisecond)

// patient are clients with a shorter timeout than usual, so that an outage is seen at its length.
func patient(l *lab.Lab, addrs ...netip.Addr) []client.Probe {
	probes := clients(l, addrs...)
	for i := range probes {
		probes[i].Timeout = impatience
	}
	return probes
}

// hung stops the process without ending it. Its addresses run out, the cluster DNS answers; when the process goes on, it steers
// again.
func hung(t *testing.T, c *cache) *cache {
	loads := client.StartAll(t, patient(c.lab, c.options.addrs...)...)
	progress(t, loads, 5)
	begin := time.Now()
	c.Freeze(t)
	progress(t, loads, either(20, 5))
	c.Signal(t, syscall.SIGCONT)
	end := time.Now()
	took := c.waitSteering(t, true, againTimeout)
	servedAgain(t, c)
	progress(t, loads, 5)
	outage(t, stop(t, loads), begin, end)
	t.Logf("steering %s after SIGCONT", took)
	return c
}

// outage checks that a probe fails only in the time that a hang may take. In the moment when it ends a query in flight may
// be lost.
func outage(t *testing.T, reports []client.Report, begin, end time.Time) {
	t.Helper()
	for _, r := range reports {
		hang := client.Window{Begin: begin.Add(-flight(r)), End: begin.Add(hangTimeout + r.Stall)}
		recovery := client.Window{Begin: end, End: end.Add(2*inFlight + r.Stall)}
		if hang.End.After(end) {
			hang.End = end
		}
		if late := r.Outside(hang, recovery); len(late.Failures) > 0 {
			t.Errorf("lost when it should not be felt: %s", late)
		}
		if lost := r.In(recovery); len(lost.Failures) > 1 {
			t.Errorf("lost at the recovery: %s", lost)
		}
		if r.Gap > hangTimeout+impatience+r.Stall {
			t.Errorf("hung from %s to %s: %s", clock(begin), clock(end), r)
		}
	}
}

// servedAgain waits until a pod's query at each address reaches the cluster DNS through the cache.
func servedAgain(t *testing.T, c *cache) {
	t.Helper()
	for i, a := range c.options.addrs {
		n := 0
		harness.Until(t, againTimeout, "query through the cache", func() error {
			n++
			name := fmt.Sprintf("again%d-%d.wild.cluster.local.", i, n)
			if _, err := client.Ask(c.lab.Pod, client.Query{Server: client.Port53(a), Name: name, Type: dns.TypeA, Timeout: time.Second}); err != nil {
				return err
			}
			if cache, direct := sources(askedAt(c.lab.ClusterDNS, name)); cache != 1 {
				return fmt.Errorf("%d over TCP, %d over UDP", cache, direct)
			}
			return nil
		})
	}
}

// deaf drops what is sent to the cache on the last bit of its way, so that the process lives and does not answer.
const deaf = `table inet deaf {
	chain input {
		type filter hook input priority -200; policy accept;
		ip daddr { %s } th dport 53 counter drop
		ip6 daddr { %s } th dport 53 counter drop
	}
}
`

// TestDeaf lets the cache's sockets hear nothing while the process is fine. Steering goes off, and on again after it.
func TestDeaf(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			loads := client.StartAll(t, patient(l, dual...)...)
			progress(t, loads, 5)
			hung := time.Now()
			l.Node.Exec(t, fmt.Sprintf(deaf, join(ipv4), join(ipv6)), "nft", "-f", "-")
			off := c.waitSteering(t, false, offTimeout)
			progress(t, loads, 20)
			l.Node.Exec(t, "", "nft", "delete", "table", "inet", "deaf")
			healed := time.Now()
			on := c.waitSteering(t, true, againTimeout)
			servedAgain(t, c)
			progress(t, loads, 5)
			outage(t, stop(t, loads), hung, healed)
			t.Logf("steering off after %s, on after %s", off, on)
			if n := strings.Count(c.Output(), "Steering on"); n > 4 {
				t.Errorf("%d log lines for two changes of state", n)
			}
		})
	}
}
