// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// tryCommand is command for what this kernel may lack.
func tryCommand(line string) bool {
	args := strings.Fields(line)
	return exec.Command(args[0], args[1:]...).Run() == nil
}

// TestUplinks has a default route by each kind of link.
func TestUplinks(t *testing.T) {
	for _, tc := range []struct {
		name, links, want string
	}{
		{"none", "", "[]"},
		{"veth", "ip link add up0 type veth peer name far", "[up0]"},
		{"bond", "ip link add up0 type bond", "[up0]"},
		{"team", "ip link add up0 type team", "[up0]"},
		{"bridge", "ip link add up0 type bridge", "[up0 (it is of type bridge)]"},
		{"dummy", "ip link add up0 type dummy", "[up0 (it is of type dummy)]"},
		{"VLAN on a veth", "ip link add card type veth peer name far\nip link set card up\nip link add up0 link card type vlan id 7", "[up0]"},
		{"VLAN on a bridge", "ip link add card type bridge\nip link set card up\nip link add up0 link card type vlan id 7", "[up0 (it is of type bridge)]"},
		{"macvlan", "ip link add card type veth peer name far\nip link set card up\nip link add up0 link card type macvlan", "[up0 (it is of type macvlan)]"},
		{"ipvlan upon it", "ip link add up0 type veth peer name far\nip link set up0 up\nip link add pods link up0 type ipvlan", "[up0 (the ipvlan interface pods is upon it)]"},
		{"name", "ip link add up0 type veth peer name far\nip link set up0 name up+", "[up+ (a rule cannot have its name)]"},
	} {
		for _, six := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/six=%t", tc.name, six), func(t *testing.T) {
				inNamespace(t)
				for line := range strings.Lines(tc.links) {
					if !tryCommand(line) {
						t.Skipf("this kernel lacks what it takes: %s", line)
					}
				}
				if tc.links != "" {
					defaultRoute(t, strings.Trim(strings.Fields(tc.want)[0], "[]"), six)
				}
				got, err := uplinks()
				if fmt.Sprint(got) != tc.want || err != nil {
					t.Errorf("got %v, %v, want %s", got, err, tc.want)
				}
			})
		}
	}
}

// TestPortWithFunctions has the uplink be a bond of cards, of which pods may have virtual functions.
func TestPortWithFunctions(t *testing.T) {
	bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "bond0", Index: 3})
	card := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: 2, MasterIndex: 3}}
	for functions, want := range map[int]string{0: "", 4: "its port eth0: it has 4 virtual functions"} {
		card.Vfs = make([]netlink.VfInfo, functions)
		if got := wayOfPods(bond, []netlink.Link{card, bond}); got != want {
			t.Errorf("%d functions: got %q, want %q", functions, got, want)
		}
	}
}

// defaultRoute has the default route of a family lead out by a link.
func defaultRoute(t *testing.T, link string, six bool) {
	t.Helper()
	command(t, "ip", "link", "set", link, "up")
	if tryCommand("ip link show far") {
		command(t, "ip", "link", "set", "far", "up")
	}
	family, addr, gateway := "-4", "198.51.100.1/24", "198.51.100.2"
	if six {
		family, addr, gateway = "-6", "2001:db8::1/64", "2001:db8::2"
	}
	command(t, "ip", family, "addr", "add", addr, "dev", link)
	command(t, "ip", family, "route", "replace", "default", "via", gateway, "dev", link, "onlink")
}

// TestUplinksOfSeveralRoutes has two ways out in one route, one of another metric, and routes that are none: of another table, to
// less than all, to nowhere.
func TestUplinksOfSeveralRoutes(t *testing.T) {
	inNamespace(t)
	for i := range 5 {
		link := fmt.Sprintf("up%d", i)
		command(t, "ip", "link", "add", link, "type", "veth", "peer", "name", "far"+link)
		command(t, "ip", "link", "set", link, "up")
		command(t, "ip", "link", "set", "far"+link, "up")
		command(t, "ip", "addr", "add", fmt.Sprintf("198.51.100.%d/28", 1+16*i), "dev", link)
	}
	for _, route := range []string{
		"default nexthop via 198.51.100.2 dev up0 nexthop via 198.51.100.18 dev up1", "default via 198.51.100.34 dev up2 metric 700",
		"default via 198.51.100.50 dev up3 table 100", "0.0.0.0/1 via 198.51.100.66 dev up4", "unreachable default metric 900",
	} {
		command(t, "ip", append([]string{"route", "add"}, strings.Fields(route)...)...)
	}
	if got, err := uplinks(); fmt.Sprint(got) != "[up0 up1 up2]" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestUplinkOfAnObject has a default route that names a nexthop object, whose interface the kernel does not add to its list, and
// then none for a moment.
func TestUplinkOfAnObject(t *testing.T) {
	inNamespace(t)
	command(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "far")
	defaultRoute(t, "up0", false)
	command(t, "ip", "route", "del", "default")
	if err := os.WriteFile("/proc/sys/net/ipv4/nexthop_compat_mode", []byte("0"), 0o644); err != nil || !tryCommand("ip nexthop add id 7 via 198.51.100.2 dev up0") {
		t.Skip("this kernel lacks nexthop objects")
	}
	command(t, "ip", "route", "add", "default", "nhid", "7")
	n := &Network{cfg: testConfig()}
	for _, want := range []bool{true, false} {
		if changed, err := n.lookAtUplinks(); changed != want || err != nil || fmt.Sprint(n.uplinks) != "[up0]" {
			t.Errorf("%v, changed: %t, %v", n.uplinks, changed, err)
		}
		tryCommand("ip route del default")
	}
	command(t, "ip", "link", "del", "up0")
	if changed, err := n.lookAtUplinks(); !changed || err != nil || len(n.uplinks) > 0 {
		t.Errorf("without its interface: %v, changed: %t, %v", n.uplinks, changed, err)
	}
}

// TestFollowUplinks moves the default route from one link to another, and to a bridge.
func TestFollowUplinks(t *testing.T) {
	inNamespace(t)
	variant(t, "nft")
	for _, link := range []string{"up0", "up1"} {
		command(t, "ip", "link", "add", link, "type", "veth", "peer", "name", "far"+link)
	}
	command(t, "ip", "link", "add", "br0", "type", "bridge")
	defaultRoute(t, "up0", false)
	cfg := testConfig()
	cfg.Firewall = IPTables
	n := open(t, cfg)
	defer closeNetwork(t, n)
	accepts := func(want string) {
		t.Helper()
		out := command(t, "iptables-save", "-t", "filter")
		if got := strings.Contains(out, "-i "+want+" "); got != (want != "") || strings.Count(out, "-j RETURN") != map[bool]int{true: 1}[want != ""] {
			t.Errorf("want the uplink %q:\n%s", want, out)
		}
		if broken, err := n.Intact(true); len(broken) > 0 || err != nil {
			t.Errorf("broken: %v, %v", broken, err)
		}
	}
	accepts("up0")
	for _, step := range []struct{ link, want string }{{"up1", "up1"}, {"br0", ""}, {"up0", "up0"}} {
		command(t, "ip", "addr", "flush", "scope", "global")
		defaultRoute(t, step.link, false)
		turn, err := takeTurn()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.FollowUplinks(); err != ErrTurn {
			t.Errorf("while another leaves: %v", err)
		}
		turn.release()
		for range 2 {
			if err := n.FollowUplinks(); err != nil {
				t.Error(err)
			}
		}
		accepts(step.want)
	}
}

// TestARPText compares what nft lists with what is meant, and has the table go where no uplink is closed, and at the end.
func TestARPText(t *testing.T) {
	inNamespace(t)
	command(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "far")
	command(t, "ip", "link", "add", "br0", "type", "bridge")
	defaultRoute(t, "up0", false)
	n := open(t, testConfig())
	listed := func(want string) {
		t.Helper()
		if got := ruleLines(command(t, "nft", "list", "ruleset", "arp")); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	const rules = `iifname "up0" arp operation request arp daddr ip 169.254.20.10 drop comment "NodeLocal DNS Cache: not from the uplink"
iifname "up0" arp operation request arp daddr ip 10.96.0.10 drop comment "NodeLocal DNS Cache: not from the uplink"`
	listed(rules)
	command(t, "ip", "addr", "flush", "dev", "up0")
	defaultRoute(t, "br0", false)
	if err := n.FollowUplinks(); err != nil {
		t.Fatal(err)
	}
	listed("")
	command(t, "ip", "addr", "flush", "dev", "br0")
	defaultRoute(t, "up0", false)
	if err := n.FollowUplinks(); err != nil {
		t.Fatal(err)
	}
	listed(rules)
	closeNetwork(t, n)
	if out := command(t, "nft", "list", "tables"); strings.Contains(out, "arp") {
		t.Errorf("left:\n%s", out)
	}
}

// TestUninterrupted has lists that are interrupted some times, always, and that fail.
func TestUninterrupted(t *testing.T) {
	broken := errors.New("no such file")
	for name, tc := range map[string]struct {
		errs []error // of the attempts; the last one goes on
		want error
		read int
	}{
		"at once":   {[]error{nil}, nil, 1},
		"later":     {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, nil, 3},
		"never":     {[]error{netlink.ErrDumpInterrupted}, netlink.ErrDumpInterrupted, 5},
		"it fails":  {[]error{broken}, broken, 1},
		"and fails": {[]error{netlink.ErrDumpInterrupted, broken}, broken, 2},
	} {
		read := 0
		got, err := uninterrupted(func() ([]int, error) {
			read++
			return []int{read}, tc.errs[min(read, len(tc.errs))-1]
		})
		if !errors.Is(err, tc.want) || read != tc.read || len(got) != 1 || got[0] != read {
			t.Errorf("%s: %v, %v after %d attempts, want %v after %d", name, got, err, read, tc.want, tc.read)
		}
	}
}
