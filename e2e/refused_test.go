// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// sysctl switches IPv6 off, or on, for a link of the node.
func sysctl(t *testing.T, l *lab.Lab, link, value string) {
	t.Helper()
	l.Node.Exec(t, value, "tee", "/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6")
}

// TestIPv6Off switches IPv6 off on the cache's link while it serves both families, and on again. Who asks over IPv4 does not
// notice, and the log does not grow.
func TestIPv6Off(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			c.settle(t)
			four, six := client.StartAll(t, clients(l, ipv4...)...), client.StartAll(t, clients(l, lab.ClusterIP6)...)
			progress(t, append(four, six...), 4)
			sysctl(t, l, "nodelocaldns", "1")
			const failures = "coredns_nodelocal_lease_renewal_failures_total"
			for _, a := range ipv6 {
				c.metricIs(t, 0, "coredns_nodelocal_steering", fmt.Sprintf("address=%q", a))
			}
			c.waitMetric(t, 30*time.Second, 5, failures) // longer than the lease, and than 3 failed self-queries take
			lines := c.steeringLines(t)
			c.waitMetric(t, 30*time.Second, c.metric(t, failures)+6, failures)
			if now := strings.Count(c.Output(), "Steering o"); now != lines {
				t.Errorf("steering goes on and off:\n%s", c.Output())
			}
			progress(t, append(four, six...), 4) // over IPv6 by kube-proxy
			for _, a := range ipv4 {
				if on := c.metric(t, "coredns_nodelocal_steering", `address="`+a.String()+`"`); on != 1 {
					t.Errorf("%s is not steered", a)
				}
			}
			sysctl(t, l, "nodelocaldns", "0")
			c.waitSteering(t, true, againTimeout)
			servedAgain(t, c)
			noFailure(t, stop(t, four))
			stop(t, six)
		})
	}
}

// steeringLines waits until the log has had no line about steering for two seconds, and returns how many there are.
func (c *cache) steeringLines(t *testing.T) (lines int) {
	t.Helper()
	since := time.Now()
	harness.Until(t, 20*time.Second, "two seconds without a line about steering", func() error {
		if now := strings.Count(c.Output(), "Steering o"); now != lines {
			lines, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Errorf("%d lines", lines)
		}
		return nil
	})
	return lines
}

// TestReloadRefused reloads a configuration that the node cannot have: an IPv6 address where there is no IPv6. The last one
// stays, with its network.
func TestReloadRefused(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			text := stanza(firewallFlag(firewall), "")
			c := launch(t, l, options{firewall: firewall, base: text, conf: true})
			c.waitSteering(t, true, steeringTimeout)
			c.settle(t)
			before := settledForm(l.Node.State(t))
			loads := client.StartAll(t, clients(l, lab.ClusterIP)...)
			progress(t, loads, 4)
			for _, link := range []string{"default", "nodelocaldns"} {
				sysctl(t, l, link, "1")
			}
			c.setBase(t, strings.ReplaceAll(text, "bind "+strings.ReplaceAll(join(ipv4), ",", " "), "bind "+strings.ReplaceAll(join(ipv4), ",", " ")+" "+lab.ClusterIP6.String()))
			c.waitMetric(t, 20*time.Second, 1, "coredns_nodelocal_config_reloads_total", `result="error"`)
			c.waitSteering(t, true, steeringTimeout)
			servedAgain(t, c)
			c.settle(t)
			progress(t, loads, 4)
			for _, r := range stop(t, loads) {
				if len(r.Failures) > 2 { // the link was made anew, with what was in flight
					t.Error(r)
				}
			}
			now := settledForm(l.Node.State(t))
			if extra, missing := now.Without(before), before.Without(now); len(extra.Without(extra.With("link "))) > 0 || len(missing.Without(missing.With("link "))) > 0 {
				t.Errorf("gone:\n%s\nnew:\n%s", missing, extra)
			}
		})
	}
}

// TestReloadRefusedLate reloads a configuration whose network is there before another block of it fails: nothing of it stays.
func TestReloadRefusedLate(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	text := stanza(firewallFlag(lab.NFTables), "")
	c := launch(t, l, options{firewall: lab.NFTables, base: text, conf: true})
	c.waitSteering(t, true, steeringTimeout)
	bind := "bind " + strings.ReplaceAll(join(ipv4), ",", " ")
	c.setBase(t, strings.ReplaceAll(text, bind, bind+" 10.96.0.99")+"nowhere:53 {\n    bind 192.0.2.1\n    whoami\n}\n")
	c.waitMetric(t, 20*time.Second, 1, "coredns_nodelocal_config_reloads_total", `result="error"`)
	c.waitSteering(t, true, steeringTimeout)
	harness.Until(t, 10*time.Second, "state without the refused address", func() error { return hasNot(l, "10.96.0.99")(t) })
	servedAgain(t, c)
}
