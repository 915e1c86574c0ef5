// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
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

// TestReload reloads ten times in a row and then changes the template, under load. The change is in effect within 2 s, although the
// reload plugin would look at the template in some minutes. No query fails, and the network stays as it is: the same link,
// addresses and rules, and no iptables process.
func TestReload(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual, base: strings.ReplaceAll(fourBlocks(dual), "reload 2s 0s", "reload 5m 0s")})
			c.settle(t)
			c.quiet(t)
			state, handles, calls := l.Node.State(t), handlesOf(t, l), len(c.tools.Calls(t))
			loads := client.StartAll(t, clients(l, dual...)...)
			progress(t, loads, 4)
			for range 10 {
				c.reload(t)
			}
			changed := time.Now()
			c.setBase(t, c.options.base+extraBlock(dual))
			waitExtra(t, l, dual...)
			took := time.Since(changed)
			progress(t, loads, 20)
			reports := stop(t, loads)
			inTime(t, "the change of the template", took, either(2*time.Second, 10*time.Second), reports)
			acceptedOnly(t, loads, reports)
			if _, direct := waitSources(t, l.ClusterDNS, ".c0-0.", 20, 0); direct > 0 {
				t.Errorf("the cluster DNS was asked %d times by the pod", direct)
			}
			if now := l.Node.State(t); now.String() != state.String() {
				t.Errorf("the network was touched:\n%s\nis gone, and there is\n%s", state.Without(now), now.Without(state))
			}
			if got := handlesOf(t, l); got != handles {
				t.Errorf("rules were made anew:\n%s\nbefore:\n%s", got, handles)
			}
			if got := c.tools.Calls(t); len(got) != calls {
				t.Errorf("iptables was run: %s", got[calls:])
			}
		})
	}
}

// reload reloads the configuration and waits for the end of that.
func (c *cache) reload(t *testing.T) {
	t.Helper()
	c.reloadWithin(t, either(10*time.Second, 20*time.Second))
}

func (c *cache) reloadWithin(t *testing.T, timeout time.Duration) {
	t.Helper()
	reloads := c.metric(t, "coredns_nodelocal_config_reloads_total", `result="success"`)
	c.Signal(t, syscall.SIGUSR1)
	c.waitMetric(t, timeout, reloads+1, "coredns_nodelocal_config_reloads_total", `result="success"`)
}

// acceptedOnly checks that nothing was lost over UDP, and hardly anything over TCP: a server that stops in a reload closes the
// connections that it has accepted and not read from yet (ShutdownContext of miekg/dns), which nodelocaldns cannot help.
func acceptedOnly(t *testing.T, loads []*client.Load, reports []client.Report) {
	t.Helper()
	for i, r := range reports {
		switch lost := len(r.Failures); {
		case lost > 1, lost > 0 && !loads[i].TCP:
			t.Error(r)
		case lost > 0:
			t.Logf("tolerated: %s", r)
		}
	}
}

// handlesOf is the nftables ruleset with the handles that the kernel gave its rules and without their counters.
func handlesOf(t *testing.T, l *lab.Lab) string {
	t.Helper()
	return l.Node.Ruleset(t)
}

// extraBlock is a server block for one more zone.
func extraBlock(addrs []netip.Addr) string { return zoneBlock("extra.test", addrs) }

func zoneBlock(zone string, addrs []netip.Addr) string {
	return fmt.Sprintf(`%s:53 {
    bind %s
    template IN A {
        answer "{{ .Name }} 60 IN A 198.51.100.9"
    }
}
`, zone, strings.ReplaceAll(join(addrs), ",", " "))
}

// waitExtra waits until the zone of extraBlock is served at all addresses.
func waitExtra(t *testing.T, l *lab.Lab, addrs ...netip.Addr) {
	t.Helper()
	waitZone(t, l, "extra.test", addrs...)
}

func waitZone(t *testing.T, l *lab.Lab, zone string, addrs ...netip.Addr) {
	t.Helper()
	for i, a := range addrs {
		n := 0
		harness.Until(t, 20*time.Second, "the changed template", func() error {
			n++
			q := client.Query{Server: client.Port53(a), Name: fmt.Sprintf("u%d-%d.%s.", i, n, zone), Type: dns.TypeA, Timeout: time.Second}
			m, err := client.Ask(l.Pod, q)
			if err == nil && (m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1) {
				err = errors.New(dns.RcodeToString[m.Rcode])
			}
			return err
		})
	}
}

// TestReloadOptions changes nodelocal's own options in a Corefile that its author wrote, under load.
func TestReloadOptions(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := launch(t, l, options{firewall: firewall, base: stanza(firewallFlag(firewall), ""), conf: true})
			c.waitSteering(t, true, steeringTimeout)
			loads := client.StartAll(t, clients(l, lab.ClusterIP)...)
			progress(t, loads, 4)
			other := map[string]string{"iptables": "nftables", "nftables": "nftables"}[firewallFlag(firewall)]
			for _, change := range []struct {
				name, firewall, line string
				seen                 func(*testing.T) error
			}{
				{"health port", firewallFlag(firewall), "health_port 8081", has(l, "8081")},
				{"lease", firewallFlag(firewall), "lease 60s", leased(l, 30*time.Second)},
				{"fallback", firewallFlag(firewall), "fallback 10.96.0.10", has(l, "ip saddr set 169.254.20.10")},
				{"no fallback", firewallFlag(firewall), "", hasNot(l, "ip saddr set 169.254.20.10")},
				{"interface", firewallFlag(firewall), "interface dnscache", has(l, "dnscache type tuntap")},
				{"firewall", other, "", has(l, "ip daddr 10.96.0.10 udp dport 53")},
			} {
				c.setBase(t, stanza(change.firewall, change.line))
				c.Signal(t, syscall.SIGUSR1)
				harness.Until(t, 20*time.Second, "change of "+change.name, func() error { return change.seen(t) })
				c.waitSteering(t, true, againTimeout)
				progress(t, loads, 4)
			}
			acceptedOnly(t, loads, stop(t, loads))
		})
	}
}

// stanza is a Corefile with a nodelocal stanza of its author's, which has one line more.
func stanza(firewall, line string) string {
	text := fourBlocks(ipv4)
	text = strings.ReplaceAll(text, "__PILLAR__CLUSTER__DNS__", lab.UpstreamIP.String())
	text = strings.ReplaceAll(text, "__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf")
	text = strings.ReplaceAll(text, "__PROMETHEUS__ENDPOINT__", ":9253")
	own := fmt.Sprintf("    nodelocal {\n        link tun\n        firewall %s\n        %s\n    }\n", firewall, line)
	return strings.Replace(text, "    errors\n", own+"    errors\n", 1)
}

func has(l *lab.Lab, text string) func(*testing.T) error {
	return func(t *testing.T) error {
		if len(l.Node.State(t).With(text)) == 0 {
			return fmt.Errorf("no %q on the node", text)
		}
		return nil
	}
}

func hasNot(l *lab.Lab, text string) func(*testing.T) error {
	return func(t *testing.T) error {
		if found := l.Node.State(t).With(text); len(found) > 0 {
			return fmt.Errorf("still there: %s", found)
		}
		return nil
	}
}

// leased waits for an address that lives for longer than a time.
func leased(l *lab.Lab, least time.Duration) func(*testing.T) error {
	return func(t *testing.T) error {
		if got := l.Node.Lifetime(t, lab.ClusterIP); got < least {
			return fmt.Errorf("%s lives for %s", lab.ClusterIP, got)
		}
		return nil
	}
}
