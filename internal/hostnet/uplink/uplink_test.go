// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

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
		for _, f := range family.Both {
			t.Run(fmt.Sprintf("%s/%s", tc.name, f), func(t *testing.T) {
				nettest.InNamespace(t)
				for line := range strings.Lines(tc.links) {
					if !nettest.Try(line) {
						t.Skipf("this kernel lacks what it takes: %s", line)
					}
				}
				if tc.links != "" {
					nettest.DefaultRoute(t, strings.Trim(strings.Fields(tc.want)[0], "[]"), f)
				}
				got, err := List()
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

// TestUplinksOfSeveralRoutes has two ways out in one route, one of another metric, and routes that are none: of another table, to
// less than all, to nowhere.
func TestUplinksOfSeveralRoutes(t *testing.T) {
	nettest.InNamespace(t)
	for i := range 5 {
		link := fmt.Sprintf("up%d", i)
		nettest.Command(t, "ip", "link", "add", link, "type", "veth", "peer", "name", "far"+link)
		nettest.Command(t, "ip", "link", "set", link, "up")
		nettest.Command(t, "ip", "link", "set", "far"+link, "up")
		nettest.Command(t, "ip", "addr", "add", fmt.Sprintf("198.51.100.%d/28", 1+16*i), "dev", link)
	}
	for _, route := range []string{
		"default nexthop via 198.51.100.2 dev up0 nexthop via 198.51.100.18 dev up1", "default via 198.51.100.34 dev up2 metric 700",
		"default via 198.51.100.50 dev up3 table 100", "0.0.0.0/1 via 198.51.100.66 dev up4", "unreachable default metric 900",
	} {
		nettest.Command(t, "ip", append([]string{"route", "add"}, strings.Fields(route)...)...)
	}
	if got, err := List(); fmt.Sprint(got) != "[up0 up1 up2]" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
