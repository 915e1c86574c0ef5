// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// repairTimeout bounds the time for which anything may be missing.
var repairTimeout = either(2*time.Second, 30*time.Second)

// damage is what another program does to the cache's network.
type damage struct {
	name string
	do   func(t *testing.T, c *cache)
	lost int    // queries that each client may lose
	said string // in the log; for changes of nftables the kernel knows the process
}

// damages lists what can be done with the backend. While the link is up, no query may fail. A link that goes takes what is in
// flight with it, and so it does over TCP when it comes back.
func damages(firewall lab.Backend) []damage {
	list := []damage{
		{"link deleted", command("ip link delete nodelocaldns"), 2, "Link put back: "},
		{"link down", command("ip link set nodelocaldns down"), 2, "Address put back: fd00:96::a "},
		{"IPv4 address deleted", command("ip addr del 10.96.0.10/32 dev nodelocaldns"), 2, "Address put back: 10.96.0.10 "},
		{"IPv6 address deleted", command("ip addr del fd00:96::a/128 dev nodelocaldns"), 2, "Address put back: fd00:96::a "},
		{"fallback table deleted", deleteTables(true), 0, byNFT + "table nodelocaldns_fallback"},
	}
	if firewall == lab.NFTables {
		return append(list, damage{"table deleted", deleteTables(false), 0, byNFT + `table nodelocaldns \(`}, flushOf(firewall))
	}
	variant := strings.TrimPrefix(string(firewall), "iptables-")
	for _, c := range []string{
		"iptables-$ -t raw -F", "ip6tables-$ -t raw -F", "iptables-$ -t raw -D PREROUTING -j NODELOCALDNS-PRE",
		"iptables-$ -F INPUT", "ip6tables-$ -t filter -F NODELOCALDNS-IN",
	} {
		c = strings.ReplaceAll(c, "$", variant)
		list = append(list, damage{c, command(c), 0, byIPTables(c)})
	}
	// Without this chain alone, queries come untracked and answers leave tracked. One that connection tracking takes for another
	// flow between the same ports leaves from another port.
	out := strings.ReplaceAll("iptables-$ -t raw -F NODELOCALDNS-OUT", "$", variant)
	return append(list, damage{out, command(out), 1, byIPTables(out)})
}

// flushOf is what a restart of the host's own firewall does.
func flushOf(firewall lab.Backend) damage {
	if variant, ok := strings.CutPrefix(string(firewall), "iptables-"); ok {
		return damage{"raw table flushed", command("iptables-" + variant + " -t raw -F"), 0, byIPTables("iptables-" + variant)}
	}
	return damage{"ruleset flushed", flushTables, 0, byNFT + "table nodelocaldns, table nodelocaldns_fallback"}
}

// byNFT begins what the log says of a change that the command nft has made.
const byNFT = `Put back what nft \(pid \d+\)( and nft \(pid \d+\))* removed or changed: `

// byIPTables returns what the log says of a change by a command of iptables. Of iptables-legacy the kernel does not tell who.
func byIPTables(line string) string {
	name, _, _ := strings.Cut(line, " ")
	if strings.HasSuffix(name, "-legacy") {
		return `Put back what something removed or changed: chains NODELOCALDNS-\*`
	}
	return "Put back what " + name + ` \(pid \d+\) removed or changed: chains NODELOCALDNS-\*`
}

func command(line string) func(*testing.T, *cache) {
	return func(t *testing.T, c *cache) {
		f := strings.Fields(line)
		c.lab.Node.Exec(t, "", f[0], f[1:]...)
	}
}

// tables lists the cache's nftables tables, those of the fallback or the others, as "ip name".
func tables(t *testing.T, c *cache, fallback bool) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(c.lab.Node.Exec(t, "", "nft", "list", "tables")) {
		name := strings.TrimSpace(strings.TrimPrefix(line, "table"))
		if strings.Contains(name, "nodelocaldns") && strings.Contains(name, "fallback") == fallback {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no table of the cache, fallback=%t", fallback)
	}
	return found
}

func deleteTables(fallback bool) func(*testing.T, *cache) {
	return func(t *testing.T, c *cache) {
		for _, table := range tables(t, c, fallback) {
			c.lab.Node.Exec(t, "delete table "+table, "nft", "-f", "-")
		}
	}
}

// flushTables empties the tables at once, as `nft flush ruleset` would, without kube-proxy's.
func flushTables(t *testing.T, c *cache) {
	all := append(tables(t, c, false), tables(t, c, true)...)
	c.lab.Node.Exec(t, "flush table "+strings.Join(all, "\nflush table ")+"\n", "nft", "-f", "-")
}

// repairEnds is when a repair is waited for no longer.
var repairEnds = repairTimeout + 20*time.Second

// TestRepair lets another program damage the cache's network under load: all is back within two seconds.
func TestRepair(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			for _, d := range damages(firewall) {
				t.Run(d.name, func(t *testing.T) {
					before := len(c.Output())
					repaired(t, c, d)
					said := regexp.MustCompile(d.said)
					harness.Until(t, saidTimeout, d.said, func() error {
						if out := c.Output()[before:]; !said.MatchString(out) {
							return fmt.Errorf("not in the log:\n%s", out)
						}
						return nil
					})
				})
			}
		})
	}
}

// onlyNew is how the rules say, for a while after a repair, that only new TCP connections are steered.
var onlyNew = regexp.MustCompile(` --tcp-flags FIN,SYN,RST,ACK SYN| tcp flags syn / fin,syn,rst,ack`)

// settledForm is the state without that.
func settledForm(s netns.State) netns.State {
	var settled netns.State
	for _, line := range s {
		settled = append(settled, onlyNew.ReplaceAllString(line, ""))
	}
	return settled
}

func repaired(t *testing.T, c *cache, d damage) {
	l := c.lab
	c.settle(t)
	whole := settledForm(l.Node.State(t).Without(l.Node.State(t).With("link ")))
	loads := client.StartAll(t, clients(l, c.options.addrs...)...)
	progress(t, loads, 4)
	hit := client.Window{Begin: time.Now()}
	d.do(t, c)
	hit.End = time.Now()
	var missed time.Duration // when something was still missing: the look takes its time
	harness.Until(t, repairEnds, "repair", func() error {
		looked := time.Since(hit.End)
		now := settledForm(l.Node.State(t))
		if missing := whole.Without(now); len(missing) > 0 {
			missed = looked
			return fmt.Errorf("missing:\n%s", missing)
		}
		return nil
	})
	on := c.waitSteering(t, true, repairEnds)
	servedAgain(t, c)
	progress(t, loads, 4)
	reports := stop(t, loads)
	inTime(t, "the repair", missed, repairTimeout, reports)
	inTime(t, "steering after it", on, repairTimeout, reports)
	for i, r := range reports {
		hit := client.Window{Begin: hit.Begin.Add(-flight(r)), End: hit.End}
		if rejected(l, loads[i]) {
			r = r.Outside(hit)
		}
		lost := d.lost
		if lost > 0 { // what is in flight is more on a busy machine
			lost += int(usual(r) / loads[i].Interval)
		}
		if len(r.Failures) > lost {
			t.Error(r)
		}
	}
	if extra := settledForm(l.Node.State(t)).Without(whole); len(extra.Without(extra.With("link "))) > 0 {
		t.Errorf("there is more than before:\n%s", extra)
	}
}

// rejected says that the answer in flight to a probe is lost when the rules go. It leaves tracked then, for connection tracking
// begins a flow, and goes to a ClusterIP, which the host has as its own source; that kube-proxy rejects in nftables mode.
func rejected(l *lab.Lab, p *client.Load) bool {
	service := p.Target == lab.ClusterIP || p.Target == lab.ClusterIP6
	return l.KubeProxy == lab.NFTables && p.From == l.Node && service && !p.TCP
}

// TestFlushInFlight flushes the rules while the cache waits for answers. It loses those to UDP sockets that have asked the
// ClusterIP again meanwhile: connection tracking takes the answer, which leaves tracked, for another flow between the same
// ports, and gives it another source port. Then the cache ends: flows that answers began while there were no rules must not
// keep clients from the cluster DNS.
func TestFlushInFlight(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			c.settle(t)
			const slowness = 400 * time.Millisecond
			l.Slow.Delay(slowness)
			probes := clients(l, dual...)
			for i := range 60 { // programs that have no further query on its way when an answer comes, each with its own rhythm
				rhythm := slowness + interval + time.Duration(i)*5*time.Millisecond
				probes = append(probes, client.Probe{From: l.Pod, Target: lab.ClusterIP, Socket: client.Long, Interval: rhythm, Timeout: patience})
			}
			for i, p := range probes {
				tag := fmt.Sprint(i, p)
				probes[i].Name = func(i int) string { return upstream.SlowName(tag, i) }
			}
			loads := client.StartAll(t, probes...)
			progress(t, loads, 4)
			hit := client.Window{Begin: time.Now().Add(-slowness)}
			flushOf(firewall).do(t, c)
			hit.End = time.Now()
			progress(t, loads, 6)
			c.term(t)
			progress(t, loads, 4)
			for i, r := range stop(t, loads) {
				if rejected(l, loads[i]) || !loads[i].TCP && loads[i].Socket != client.Fresh {
					r = r.Outside(client.Window{Begin: hit.Begin.Add(-flight(r)), End: hit.End})
				}
				if len(r.Failures) > 0 {
					t.Error(r)
				}
			}
		})
	}
}

// hostFirewall drops what it does not know, in iptables' own table and with a rule that only nft can express: iptables-save says
// nothing of that table.
const hostFirewall = `table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		icmp type echo-request accept
	}
}
`

// TestHostFirewall has such a firewall from the beginning, or from when the cache runs on: its accept rules stay in effect, and few.
func TestHostFirewall(t *testing.T) {
	for _, name := range []string{"before", "while it runs"} {
		t.Run(name, func(t *testing.T) {
			l := lab.New(t, lab.IPTablesNFT)
			if name == "before" {
				l.Node.Exec(t, hostFirewall, "nft", "-f", "-")
			}
			c := start(t, l, options{firewall: lab.IPTablesNFT})
			servedAgain(t, c)
			loads := client.StartAll(t, clients(l, ipv4...)...)
			progress(t, loads, 4)
			if name != "before" {
				l.Node.Exec(t, hostFirewall, "nft", "-f", "-")
			}
			c.settle(t)
			<-time.After(4 * time.Second) // some looks at the rules; none is to add to them
			servedAgain(t, c)
			progress(t, loads, 4)
			noFailure(t, stop(t, loads))
			if n := strings.Count(l.Node.Exec(t, "", "nft", "list", "table", "ip", "filter"), "jump NODELOCALDNS-IN"); n != 1 {
				t.Errorf("%d jumps", n)
			}
			c.Signal(t, syscall.SIGTERM)
			c.Wait(t, 10*time.Second)
			if rules := l.Node.Exec(t, "", "nft", "list", "table", "ip", "filter"); strings.Contains(rules, "NODELOCALDNS") {
				t.Errorf("left:\n%s", rules)
			}
		})
	}
}
