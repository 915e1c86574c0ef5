// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestUplinkOfAnObject has a default route that names a nexthop object, whose interface the kernel does not add to its list, and
// then none for a moment.
func TestUplinkOfAnObject(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Command(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "far")
	nettest.DefaultRoute(t, "up0", family.IPv4)
	nettest.Command(t, "ip", "route", "del", "default")
	if err := os.WriteFile("/proc/sys/net/ipv4/nexthop_compat_mode", []byte("0"), 0o644); err != nil || !nettest.Try("ip nexthop add id 7 via 198.51.100.2 dev up0") {
		t.Skip("this kernel lacks nexthop objects")
	}
	nettest.Command(t, "ip", "route", "add", "default", "nhid", "7")
	n := &Network{book: testBook()}
	for _, want := range []bool{true, false} {
		if changed, err := n.lookAtUplinks(n.cfg); changed != want || err != nil || fmt.Sprint(n.uplinks) != "[up0]" {
			t.Errorf("%v, changed: %t, %v", n.uplinks, changed, err)
		}
		nettest.Try("ip route del default")
	}
	nettest.Command(t, "ip", "link", "del", "up0")
	if changed, err := n.lookAtUplinks(n.cfg); !changed || err != nil || len(n.uplinks) > 0 {
		t.Errorf("without its interface: %v, changed: %t, %v", n.uplinks, changed, err)
	}
}

// TestFollowUplinks moves the default route from one link to another, and to a bridge.
func TestFollowUplinks(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Variant(t, "nft")
	for _, link := range []string{"up0", "up1"} {
		nettest.Command(t, "ip", "link", "add", link, "type", "veth", "peer", "name", "far"+link)
	}
	nettest.Command(t, "ip", "link", "add", "br0", "type", "bridge")
	nettest.DefaultRoute(t, "up0", family.IPv4)
	cfg := testConfig()
	cfg.Firewall = IPTables
	n := open(t, cfg)
	defer closeNetwork(t, n)
	accepts := func(want string) {
		t.Helper()
		out := nettest.Command(t, "iptables-save", "-t", "filter")
		if got := strings.Contains(out, "-i "+want+" "); got != (want != "") || strings.Count(out, "-j RETURN") != map[bool]int{true: 1}[want != ""] {
			t.Errorf("want the uplink %q:\n%s", want, out)
		}
		if broken, err := n.intact(true); len(broken) > 0 || err != nil {
			t.Errorf("broken: %v, %v", broken, err)
		}
	}
	accepts("up0")
	for _, step := range []struct{ link, want string }{{"up1", "up1"}, {"br0", ""}, {"up0", "up0"}} {
		nettest.Command(t, "ip", "addr", "flush", "scope", "global")
		nettest.DefaultRoute(t, step.link, family.IPv4)
		turn, err := instance.TakeTurn()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.followUplinks(); err != ErrTurn {
			t.Errorf("while another leaves: %v", err)
		}
		turn.Release()
		for range 2 {
			if err := n.followUplinks(); err != nil {
				t.Error(err)
			}
		}
		accepts(step.want)
	}
}

// TestARPText compares what nft lists with what is meant, and has the table go where no uplink is closed, and at the end.
func TestARPText(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Command(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "far")
	nettest.Command(t, "ip", "link", "add", "br0", "type", "bridge")
	nettest.DefaultRoute(t, "up0", family.IPv4)
	n := open(t, testConfig())
	listed := func(want string) {
		t.Helper()
		if got := nettest.RuleLines(nettest.Command(t, "nft", "list", "ruleset", "arp")); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	const rules = `iifname "up0" arp operation request arp daddr ip 169.254.20.10 drop comment "NodeLocal DNS Cache: not from the uplink"
iifname "up0" arp operation request arp daddr ip 10.96.0.10 drop comment "NodeLocal DNS Cache: not from the uplink"`
	listed(rules)
	nettest.Command(t, "ip", "addr", "flush", "dev", "up0")
	nettest.DefaultRoute(t, "br0", family.IPv4)
	if err := n.followUplinks(); err != nil {
		t.Fatal(err)
	}
	listed("")
	nettest.Command(t, "ip", "addr", "flush", "dev", "br0")
	nettest.DefaultRoute(t, "up0", family.IPv4)
	if err := n.followUplinks(); err != nil {
		t.Fatal(err)
	}
	listed(rules)
	closeNetwork(t, n)
	if out := nettest.Command(t, "nft", "list", "tables"); strings.Contains(out, "arp") {
		t.Errorf("left:\n%s", out)
	}
}
