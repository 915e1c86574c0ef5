// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

func open(t *testing.T, cfg Config) *Network {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if w := n.Status().Warnings; len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	return n
}

func closeNetwork(t *testing.T, n *Network) {
	t.Helper()
	if err := n.Close(false); err != nil {
		t.Error(err)
	}
}

// state is what a person would look at.
func state(t *testing.T) string {
	t.Helper()
	return nettest.Command(t, "ip", "-br", "addr") + nettest.Command(t, "nft", "list", "ruleset")
}

func TestNetworkLife(t *testing.T) {
	nettest.InNamespace(t)
	before := state(t)
	n := open(t, testConfig())
	if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); !strings.Contains(out, "169.254.20.10/32 10.96.0.10/32 fd00:96::a/128 fd00::10/128") {
		t.Errorf("addresses: %s", out)
	}
	if len(n.steered()) != 0 {
		t.Error("steers before anybody asked for it")
	}
	if err := steerTo(n, nettest.Addrs("169.254.20.10 fd00::10")); err != nil {
		t.Fatal(err)
	}
	if broken, err := n.intact(true); len(broken) > 0 || err != nil {
		t.Errorf("broken: %v, %v", broken, err)
	}
	nettest.Command(t, "nft", "delete", "table", "ip", fallback.Name)
	if broken, err := n.intact(false); len(broken) != 1 || broken[0] != "fallback" || err != nil {
		t.Errorf("broken: %v, %v", broken, err)
	}
	if err := n.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	closeNetwork(t, n)
	if err := nft.RemoveTables(fallback.Name, family.Both...); err != nil {
		t.Fatal(err)
	}
	if after := state(t); after != before {
		t.Errorf("left behind:\n%s", after)
	}
}

// TestIsLocal has an address be there, run out, and be one that only a route knows.
func TestIsLocal(t *testing.T) {
	nettest.InNamespace(t)
	cfg := testConfig()
	cfg.Lease = 2 * time.Second
	n := open(t, cfg)
	defer closeNetwork(t, n)
	for _, a := range cfg.Addresses {
		if !IsLocal(a) {
			t.Errorf("%s is not local", a)
		}
	}
	for _, a := range cfg.Addresses {
		eventually(t, a.String()+" goes without a renewal", func() bool { return !IsLocal(a) })
	}
	nettest.Command(t, "ip", "addr", "add", "10.96.0.10/32", "dev", "lo")
	if !IsLocal(netip.MustParseAddr("10.96.0.10")) {
		t.Error("somebody else's address is not local")
	}
}

func TestLeaseRunsOut(t *testing.T) {
	nettest.InNamespace(t)
	cfg := testConfig()
	cfg.Lease = 2 * time.Second
	n := open(t, cfg)
	defer closeNetwork(t, n)
	eventually(t, "the addresses go without a renewal", func() bool {
		return !strings.Contains(nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"), "/32")
	})
	if _, err := n.Renew(); err != nil {
		t.Fatal(err)
	}
	if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); !strings.Contains(out, "169.254.20.10/32") {
		t.Errorf("not back: %s", out)
	}
}

func TestRepairsLink(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	nettest.Command(t, "ip", "link", "del", "nodelocaldns")
	eventually(t, "an event", func() bool { return len(n.Events()) > 0 })
	if e := <-n.Events(); e.Gone != LinkGone && e.Gone != AddressGone {
		t.Errorf("event %q", e)
	}
	if repaired, err := n.Renew(); !repaired || err != nil {
		t.Fatalf("got %v, %v", repaired, err)
	}
	nettest.Command(t, "ip", "addr", "del", "169.254.20.10/32", "dev", "nodelocaldns")
	eventually(t, "an event", func() bool {
		select {
		case e := <-n.Events():
			return e.Gone == AddressGone
		default:
			return false
		}
	})
	nettest.Command(t, "ip", "link", "set", "nodelocaldns", "down")
	if _, err := n.Renew(); err != nil {
		t.Fatal(err)
	}
	if out := nettest.Command(t, "ip", "-o", "link", "show", "nodelocaldns"); !strings.Contains(out, ",UP") {
		t.Errorf("not up: %s", out)
	}
}

func TestTwoInstances(t *testing.T) {
	nettest.InNamespace(t)
	a := open(t, testConfig())
	if err := steerTo(a, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	b := open(t, testConfig())
	if broken, err := a.intact(true); len(broken) > 0 || err != nil {
		t.Errorf("the second changed the rules before it answered: %v, %v", broken, err)
	}
	if err := steerTo(b, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	if err := a.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := steerTo(b, testConfig().Addresses[1:]); !errors.Is(err, ErrTurn) {
		t.Errorf("the second steers while the first leaves: %v", err)
	}
	closeNetwork(t, a)
	eventually(t, "an event", func() bool { return len(b.Events()) > 0 })
	if e := <-b.Events(); e.Gone != PeerGone {
		t.Errorf("event %q", e)
	}
	if broken, err := b.intact(false); len(broken) == 0 || err != nil {
		t.Errorf("the second does not see that steering is off: %v, %v", broken, err)
	}
	if err := b.repair([]string{"rules"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(state(t), "fin,syn,rst,ack fib daddr type local notrack") {
		t.Error("connections to the cluster DNS that began meanwhile are cut off")
	}
	closeNetwork(t, b)
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, setup, want string
		change            func(*Config)
		fallback          bool
	}{
		{"foreign link", "ip link add nodelocaldns type bridge", "interface nodelocaldns: a link of that name (type bridge) is there and not ours: remove it (ip link delete nodelocaldns) or choose another name", nil, true},
		{"bad config", "true", `link "x": want auto, tun, dummy or none`, func(c *Config) { c.Link = "x" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Command(t, "sh", "-c", tc.setup)
			before := state(t)
			cfg := testConfig()
			if tc.change != nil {
				tc.change(&cfg)
			}
			if _, err := Open(cfg); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if out := state(t); strings.Contains(out, "daddr set") != tc.fallback || strings.Contains(out, "mark != 0x") {
				t.Errorf("want a fallback table while nobody has the addresses: %t:\n%s", tc.fallback, out)
			}
			if err := nft.RemoveTables(fallback.Name, family.Both...); err != nil {
				t.Error(err)
			}
			if after := state(t); after != before {
				t.Errorf("left behind:\n%s", after)
			}
			if n := instance.Peers(-1); n != 0 {
				t.Error("still holds its number")
			}
		})
	}
}

func TestSettle(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	const onlyNew = "fin,syn,rst,ack fib daddr type local notrack"
	if !strings.Contains(state(t), onlyNew) {
		t.Error("connections in use are cut off")
	}
	age(n)
	if err := steerTo(n, n.steered()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(state(t), onlyNew) {
		t.Error("connections are tracked for ever")
	}
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(state(t), onlyNew) {
		t.Error("the same addresses settle again")
	}
}

// An IPv6 address and its local route come at once, and only the kernel's route
// stays: it is the one that goes when the lease runs out.
func TestLocalRouteOfIPv6(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	out := nettest.Command(t, "ip", "-6", "route", "show", "table", "local", "dev", "nodelocaldns")
	if strings.Count(out, "proto kernel metric 0") != 2 || strings.Contains(out, "1024") {
		t.Errorf("routes:\n%s", out)
	}
}

// While the address is about to go, nothing new of the host may depend on it.
func TestYield(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Command(t, "sh", "-c", `ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up &&
		ip addr add 192.0.2.9/24 dev v0 && ip addr add 2001:db8::9/64 dev v0 nodad && ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1`)
	n := open(t, testConfig())
	for range 2 {
		if err := n.link.Yield(); err != nil {
			t.Fatal(err)
		}
		for addr, src := range map[string]string{"10.96.0.10": "192.0.2.9", "fd00:96::a": "2001:db8::9"} {
			if out := nettest.Command(t, "ip", "route", "get", addr); !strings.Contains(out, "local "+addr) || !strings.Contains(out, "src "+src) {
				t.Errorf("route to %s: %s", addr, out)
			}
		}
		if _, err := n.Renew(); err != nil {
			t.Fatal(err)
		}
	}
	closeNetwork(t, n)
	for _, family := range []string{"-4", "-6"} {
		if out := nettest.Command(t, "ip", family, "route", "show", "table", "local"); strings.Contains(out, "96") {
			t.Errorf("left behind: %s", out)
		}
	}
}

// The order in which rules and fallback change; see apply.
func TestWithdrawOrder(t *testing.T) {
	nettest.InNamespace(t)
	var j journal
	n := &Network{book: testBook(), firewall: &fakeFirewall{journal: &j}, link: fakeLink{&j}, slot: 3}
	if err := n.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	closeNetwork(t, n)
	if want := "yield\nsteer []\nremove rules\nremove link"; j.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", j, want)
	}
}

func TestWithdrawWithoutRulesTakesTheAddresses(t *testing.T) {
	nettest.InNamespace(t)
	var j journal
	n := &Network{book: testBook(), firewall: &fakeFirewall{journal: &j, err: ErrLocked}, link: fakeLink{&j}, slot: 3}
	if err := n.Leave(quietly(30 * time.Millisecond)); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if _, err := n.Renew(); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(j.String(), "remove link") {
		t.Errorf("the addresses stay, or come again:\n%s", j)
	}
}

func TestPrepareAndCommit(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.Addresses = nettest.Addrs("169.254.20.11 10.96.0.10")
	cfg.Fallback = nettest.Addrs("10.96.0.11")
	change, err := n.Apply(Want{Config: cfg, Servers: ServersStarting})
	if err != nil {
		t.Fatal(err)
	}
	if !change.Drained {
		t.Error("a family less is another set of rules, and nothing was drained")
	}
	if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); !strings.Contains(out, "169.254.20.10") || !strings.Contains(out, "169.254.20.11") {
		t.Errorf("old and new servers need their addresses: %s", out)
	}
	if err := steerTo(n, n.steered()); err != nil {
		t.Fatal(err)
	}
	if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); strings.Contains(out, "169.254.20.10") || strings.Contains(out, "fd00::10") {
		t.Errorf("old addresses stay: %s", out)
	}
}

func TestPrepareChangesTheLink(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	cfg := testConfig()
	cfg.Interface = "dns0"
	if err := prepare(n, cfg); err != nil {
		t.Fatal(err)
	}
	if out := nettest.Command(t, "ip", "-br", "addr"); strings.Contains(out, "nodelocaldns") || !strings.Contains(out, "dns0") {
		t.Errorf("links: %s", out)
	}
}

func TestDummyLink(t *testing.T) {
	nettest.InNamespace(t)
	needsDummy(t)
	cfg := testConfig()
	cfg.Link = Dummy
	nettest.Command(t, "sh", "-c", "ip link add nodelocaldns type dummy && ip addr add 169.254.20.10/32 dev nodelocaldns") // the reference's
	n := open(t, cfg)
	link, err := netlink.LinkByName("nodelocaldns")
	if err != nil || link.Attrs().Alias != "nodelocaldns cache addresses" {
		t.Errorf("%v, %v", link, err)
	}
	closeNetwork(t, n)
	if _, err := net.InterfaceByName("nodelocaldns"); err == nil {
		t.Error("the dummy link stays")
	}
}

func TestCleanup(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Variant(t, "nft")
	cfg := testConfig()
	cfg.Firewall = IPTables
	n := open(t, cfg)
	if _, err := Cleanup(DefaultInterface); err == nil || !strings.HasPrefix(err.Error(), "1 running instance(s) hold this node's DNS: stop them first: udp 127.53.0.1:60 is held by pid ") {
		t.Errorf("got %v", err)
	}
	if err := n.Close(true); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	removed, err := Cleanup(DefaultInterface)
	if err != nil || len(removed) != 4 {
		t.Errorf("got %q, %v", removed, err)
	}
	if out := state(t); strings.Contains(strings.ToLower(out), "nodelocal") {
		t.Errorf("left:\n%s", out)
	}
	if removed, err := Cleanup(DefaultInterface); len(removed) != 0 || err != nil {
		t.Errorf("twice: %q, %v", removed, err)
	}
}

// TestInherit has two instances with different backends, of which the first is killed: the other one removes its rules.
func TestInherit(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Variant(t, "nft")
	cfg := testConfig()
	cfg.Firewall = IPTables
	first := open(t, cfg)
	if err := steerTo(first, cfg.Addresses); err != nil {
		t.Fatal(err)
	}
	cfg.Firewall = NFTables
	second := open(t, cfg)
	if err := steerTo(second, cfg.Addresses); err != nil {
		t.Fatal(err)
	}
	left := func() bool { return strings.Contains(nettest.Command(t, "iptables-save"), steering.ChainPrefix) }
	if err := second.inherit(); err != nil || !left() {
		t.Errorf("the living one's rules: %t, %v", left(), err)
	}
	if err := first.Close(true); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	for range 2 {
		if err := second.inherit(); err != nil || left() {
			t.Errorf("the dead one's rules: %t, %v", left(), err)
		}
	}
	if broken, err := second.intact(true); len(broken) > 0 || err != nil {
		t.Errorf("its own rules: %v, %v", broken, err)
	}
	closeNetwork(t, second)
}

// TestInheritPlain has the plain commands only: the survivor's own rules are not a leftover.
func TestInheritPlain(t *testing.T) {
	nettest.InNamespace(t)
	nettest.ToolsOf(t, "")
	cfg := testConfig()
	cfg.Firewall = IPTables
	n := open(t, cfg)
	if err := steerTo(n, cfg.Addresses); err != nil {
		t.Fatal(err)
	}
	n.leftovers = true
	if err := n.inherit(); err != nil || n.leftovers {
		t.Errorf("%t, %v", n.leftovers, err)
	}
	if broken, err := n.intact(true); len(broken) > 0 || err != nil {
		t.Errorf("its own rules: %v, %v", broken, err)
	}
	closeNetwork(t, n)
}

// TestNeverSteered has an instance leave that did not come to serve: the rules of the other one stay.
func TestNeverSteered(t *testing.T) {
	nettest.InNamespace(t)
	first := open(t, testConfig())
	if err := steerTo(first, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	second := open(t, testConfig())
	if err := second.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	closeNetwork(t, second)
	if broken, err := first.intact(true); len(broken) > 0 || err != nil {
		t.Errorf("%v, %v", broken, err)
	}
	closeNetwork(t, first)
}

// lockedFirewall cannot change rules while another program holds the lock.
type lockedFirewall struct {
	Firewall
	err error
}

func (f *lockedFirewall) Set(s steering.Wanted) error {
	if f.err != nil {
		return f.err
	}
	return f.Firewall.Set(s)
}

// TestForsake has rules that cannot be changed when an address is to go off: the address goes, once, and is back when the rules
// could be changed, or when servers start.
func TestForsake(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	addrs := testConfig().Addresses
	if err := steerTo(n, addrs); err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		return strings.Contains(nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"), addrs[0].String())
	}
	locked := &lockedFirewall{Firewall: n.firewall}
	n.firewall = locked
	for _, how := range []string{"the rules could be changed", "servers start"} {
		locked.err = ErrLocked
		for i, want := range []int{1, 0} {
			c, err := n.Apply(Want{Config: n.cfg, Steered: addrs[1:]})
			if !errors.Is(err, ErrLocked) || !errors.As(err, new(RulesError)) || len(c.Forsaken) != want || len(c.Off) > 0 || there() {
				t.Errorf("attempt %d: %+v, %v, there: %t", i, c, err, there())
			}
			if _, err := n.Renew(); err != nil || there() {
				t.Errorf("renewed: %t, %v", there(), err)
			}
			if state := n.Status().Addresses[0].State; state != Forsaken {
				t.Errorf("it is %s", state)
			}
		}
		var c Change
		var err error
		if how == "servers start" {
			c, err = n.Apply(Want{Config: n.cfg, Servers: ServersStarting})
			if state := n.Status().Addresses[0].State; state != Settling {
				t.Errorf("%s: it is %s", how, state)
			}
		} else {
			locked.err = nil
			c, err = n.Apply(Want{Config: n.cfg, Steered: addrs[1:]})
			if len(c.Off) > 0 {
				t.Errorf("counted twice: %+v", c)
			}
			if err := steerTo(n, addrs); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil || !there() {
			t.Errorf("%s: there %t, %v", how, there(), err)
		}
	}
	locked.err = nil
}

// TestNothingIsForsaken has rules that cannot be changed, where the link is somebody else's, or servers start.
func TestNothingIsForsaken(t *testing.T) {
	for name, want := range map[string]func(*Want){
		"no link of ours": func(w *Want) { w.Steered = nil },
		"another port":    func(w *Want) { w.Config.Port, w.Servers = 5353, ServersStarting },
	} {
		nettest.InNamespace(t)
		cfg := testConfig()
		if name == "no link of ours" {
			cfg.Link = None
		}
		n := open(t, cfg)
		if err := steerTo(n, cfg.Addresses); err != nil {
			t.Fatal(err)
		}
		locked := &lockedFirewall{n.firewall, ErrLocked}
		n.firewall = locked
		w := Want{Config: cfg, Steered: cfg.Addresses}
		want(&w)
		c, err := n.Apply(w)
		if !errors.Is(err, ErrLocked) || fmt.Sprint(c) != fmt.Sprint(Change{}) || len(n.steered()) != len(cfg.Addresses) || len(n.carried()) != len(cfg.Addresses) {
			t.Errorf("%s: %+v, %v, %s", name, c, err, n.text())
		}
		locked.err = nil
		closeNetwork(t, n)
	}
}

// TestApplyFails has rules that cannot be changed when steering begins: the states stay until they can, and the node is in doubt.
func TestApplyFails(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	locked := &lockedFirewall{n.firewall, ErrLocked}
	n.firewall = locked
	for range 2 {
		c, err := n.Apply(Want{Config: n.cfg, Steered: n.cfg.Addresses})
		if !errors.Is(err, ErrLocked) || fmt.Sprint(c) != fmt.Sprint(Change{}) || n.text() != testBook().text() || n.trust != doubted {
			t.Errorf("%+v, %v, %s, trust %d", c, err, n.text(), n.trust)
		}
	}
	locked.err = nil
	c, err := n.Apply(Want{Config: n.cfg, Steered: n.cfg.Addresses})
	if err != nil || len(n.Status().Addresses.In(Settling)) != len(n.cfg.Addresses) || n.trust != sure {
		t.Errorf("%+v, %v, trust %d", c, err, n.trust)
	}
	// Nothing is to be done, so the lock is no matter.
	locked.err = ErrLocked
	if c, err := n.Apply(Want{Config: n.cfg, Steered: n.cfg.Addresses}); err != nil || fmt.Sprint(c) != fmt.Sprint(Change{}) {
		t.Errorf("%+v, %v", c, err)
	}
	bad := n.cfg
	bad.Link = "x"
	if _, err := n.Apply(Want{Config: bad, Servers: ServersStarting}); err == nil || n.trust != sure {
		t.Errorf("a configuration that is out of range: %v, trust %d", err, n.trust)
	}
	locked.err = nil
}

// TestForsakenBesideABrokenAddress: an address that the kernel refuses does not keep a forsaken one off the link, once the rules
// could be changed.
func TestForsakenBesideABrokenAddress(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	addrs := testConfig().Addresses
	if err := steerTo(n, addrs); err != nil {
		t.Fatal(err)
	}
	locked := &lockedFirewall{n.firewall, ErrLocked}
	n.firewall = locked
	if c, err := n.Apply(Want{Config: n.cfg, Steered: addrs[1:]}); !errors.Is(err, ErrLocked) || len(c.Forsaken) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	disableIPv6(t, "nodelocaldns", "1")
	if _, err := n.Renew(); err == nil {
		t.Fatal("an address without IPv6 was renewed")
	}
	locked.err = nil
	for range 2 {
		if c, err := n.Apply(Want{Config: n.cfg, Steered: addrs[1:]}); err != nil || len(c.Forsaken) > 0 || n.trust != sure {
			t.Errorf("%+v, %v, trust %d", c, err, n.trust)
		}
		if _, err := n.Renew(); err == nil {
			t.Error("the address without IPv6 is no error any more")
		}
		if state := n.Status().Addresses[0].State; state != Standing || !strings.Contains(nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"), addrs[0].String()) {
			t.Errorf("%s is %s, and not on the link", addrs[0], state)
		}
	}
}

// unreadable puts a rule into the host's table filter that iptables does not know.
func unreadable(t *testing.T) {
	t.Helper()
	nettest.Command(t, "nft", "table ip filter { chain INPUT { type filter hook input priority filter; ct state established,related accept; }; }")
}

// TestUnreadableTable has somebody write a rule with nft into a table of iptables', before the cache begins.
func TestUnreadableTable(t *testing.T) {
	for _, tc := range []struct {
		firewall, table string // of a rule of the reference
		opened          string
		message         string
	}{
		{Auto, "raw", "iptables-nft", ""},
		{IPTables, "raw", "iptables-nft", ""},
		{Auto, "filter", "nftables", "No iptables (running iptables-nft-save: iptables cannot read table filter"},
		{IPTables, "filter", "", "iptables cannot read table filter"},
	} {
		t.Run(tc.firewall+" "+tc.table, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Variant(t, "nft")
			nettest.Command(t, "iptables", "-t", tc.table, "-A", "OUTPUT", "-d", "169.254.20.10", "-m", "comment", "--comment", steering.CommentSkip)
			unreadable(t)
			cfg := testConfig()
			cfg.Firewall = tc.firewall
			n, err := Open(cfg)
			if tc.opened == "" {
				if err == nil || !strings.Contains(err.Error(), tc.message) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || n.firewall.String() != tc.opened {
				t.Fatalf("%v, %v", n, err)
			}
			w := strings.Join(n.Status().Warnings, "\n")
			if !strings.HasPrefix(w, tc.message) || strings.Contains(w, "Rules of an earlier cache stay: ") != (tc.message != "") {
				t.Errorf("warnings: %q", w)
			}
			if stays := strings.Contains(nettest.Command(t, "nft", "list", "table", "ip", tc.table), "169.254.20.10  counter"); stays != (tc.message != "") {
				t.Errorf("the reference's rule stays: %t", stays)
			}
			if err := steerTo(n, cfg.Addresses); err != nil {
				t.Fatal(err)
			}
			if broken, err := n.intact(true); len(broken) > 0 || err != nil {
				t.Errorf("%v, %v", broken, err)
			}
			closeNetwork(t, n)
			if _, err := Cleanup(DefaultInterface); (err != nil) != (tc.message != "") {
				t.Errorf("cleanup: %v", err)
			}
			if out := state(t); strings.Contains(out, steering.ChainPrefix) {
				t.Errorf("left:\n%s", out)
			}
		})
	}
}

// TestBecomesUnreadable has it happen while the cache runs, and then somebody take the cache's rules away, too.
func TestBecomesUnreadable(t *testing.T) {
	jumps := func() int {
		return strings.Count(nettest.Command(t, "nft", "list", "ruleset"), "jump "+steering.ChainPrefix)
	}
	for _, firewall := range []string{Auto, IPTables} {
		t.Run(firewall, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Variant(t, "nft")
			cfg := testConfig()
			cfg.Firewall = firewall
			n := open(t, cfg)
			unreadable(t)
			before := jumps()
			for range 3 {
				for _, steered := range [][]netip.Addr{cfg.Addresses, nil, cfg.Addresses} {
					if err := steerTo(n, steered); err != nil {
						t.Fatal(err)
					}
					if broken, err := n.intact(true); len(broken) > 0 || err != nil {
						t.Errorf("%v, %v", broken, err)
					}
				}
				if err := n.repair([]string{"rules"}); err != nil {
					t.Errorf("repair: %v", err)
				}
			}
			if after := jumps(); after != before {
				t.Errorf("%d jumps, then %d", before, after)
			}
			nettest.Command(t, "nft", "flush", "chain", "ip", "raw", "PREROUTING")
			if broken, err := n.intact(false); len(broken) == 0 && err == nil {
				t.Error("all is said to be well")
			}
			if err := n.repair([]string{"rules"}); (err == nil) != (firewall == Auto) {
				t.Errorf("repair: %v", err)
			}
			if firewall == Auto {
				// What is left in the table that can be read goes at once.
				if err := n.inherit(); err != nil || n.firewall.String() != "nftables" || strings.Contains(nettest.Command(t, "iptables", "-t", "raw", "-S"), steering.ChainPrefix) {
					t.Errorf("%s, %v:\n%s", n.firewall, err, nettest.Command(t, "iptables", "-t", "raw", "-S"))
				}
			}
			_ = n.Close(false) // says what it cannot remove
		})
	}
}

// TestCleanupReference has a k8s-dns-node-cache that serves, and its end.
func TestCleanupReference(t *testing.T) {
	nettest.InNamespace(t)
	needsDummy(t)
	nettest.Command(t, "sh", "-c", "ip link set lo up && ip link add nodelocaldns type dummy && ip link set nodelocaldns up && ip addr add 169.254.20.10/32 dev nodelocaldns")
	for _, addr := range []string{"169.254.20.10:53", "169.254.20.10:5353", "0.0.0.0:53"} {
		server, err := net.ListenPacket("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		removed, err := Cleanup(DefaultInterface)
		server.Close()
		if len(removed) > 0 || err == nil || !strings.HasPrefix(err.Error(), "a server listens at "+addr) {
			t.Errorf("%s: removed %q, %v", addr, removed, err)
		}
	}
	if removed, err := Cleanup(DefaultInterface); len(removed) != 1 || err != nil {
		t.Errorf("removed %q, %v", removed, err)
	}
}
