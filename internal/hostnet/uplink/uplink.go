// SPDX-License-Identifier: Apache-2.0

// Package uplink tells the interfaces of the default routes, and keeps the kernel from answering ARP there.
package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// An Uplink is the interface of a default route of the main table. Our accept rules leave out what comes in by it,
// and the host answers no ARP for the cache's addresses there, unless pods may come in by it.
type Uplink struct {
	Name string
	// Pods says why pods may come in by it. DNS is accepted then, as at any other interface: no pod may be locked
	// out. Empty: no pod comes in by it.
	Pods string
}

// String returns the name, with the reason in parentheses if there is one.
func (u Uplink) String() string {
	if u.Pods == "" {
		return u.Name
	}
	return fmt.Sprintf("%s (%s)", u.Name, u.Pods)
}

// List returns the interfaces of the default routes of both families, by name.
func List() ([]Uplink, error) {
	links, err := link.Uninterrupted(netlink.LinkList)
	if err != nil { // a list without an ipvlan interface would lock out pods
		return nil, fmt.Errorf("listing links: %w", err)
	}
	var out []Uplink
	for _, fam := range family.Both {
		routes, err := defaultRoutes(fam)
		if err != nil {
			return nil, err
		}
		// The way out has the gateway of the default route, also if that route names a nexthop object in the place of an
		// interface, or stands in another table.
		toGateway := slices.DeleteFunc(link.WayOut(fam), func(r netlink.Route) bool { return r.Gw == nil && r.Via == nil })
		for _, index := range waysOut(append(routes, toGateway...)) {
			l, err := netlink.LinkByIndex(index)
			if err != nil {
				continue // it has gone since, and its route with it
			}
			if u := (Uplink{l.Attrs().Name, wayOfPods(l, links)}); !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
	}
	slices.SortFunc(out, func(a, b Uplink) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// defaultRoutes lists the routes of the main table to everywhere. A list that is not of one moment is good enough: an
// uplink that it lacks is open until the next look.
func defaultRoutes(f family.Family) ([]netlink.Route, error) {
	routes, err := link.Uninterrupted(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(int(f), &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return slices.DeleteFunc(routes, func(r netlink.Route) bool {
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		return ones > 0 || r.Type != unix.RTN_UNICAST
	}), nil
}

// waysOut returns the indices of the interfaces of routes, one or several a route.
func waysOut(routes []netlink.Route) (out []int) {
	for _, r := range routes {
		if len(r.MultiPath) == 0 {
			out = append(out, r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			out = append(out, hop.LinkIndex)
		}
	}
	return out
}

// plainName is a name that iptables takes for itself: a last + would stand for any rest.
var plainName = regexp.MustCompile(`^[A-Za-z0-9._:@-]+$`)

// wayOfPods says why pods may come in by an interface of a default route; empty if none does. By an interface of an
// unknown kind they may.
//
//   - A bridge, of Linux or Open vSwitch, may have pods beside the uplink as its
//     ports (azure0 of Azure's CNI in mode bridge; OVN-Kubernetes, Antrea).
//   - A network card with virtual functions may have given them to pods (SR-IOV),
//     also one that is a port of a bond or team.
//   - No pod comes in by a card, a bond, a team, a VLAN upon one of these, or a veth
//     whose other end is in the network outside (a node in a container): pods have
//     interfaces of their own on the host. A macvlan pod and the host do not hear
//     each other over the interface that they share.
//   - An ipvlan pod comes in by it if the host has an ipvlan interface upon it, too.
//     The pod sends to the link address that both share. The interface itself gets
//     the packet, unless it is for the address of the host's ipvlan interface
//     (ipvlan_xmit_mode_l2 of drivers/net/ipvlan/ipvlan_core.c).
func wayOfPods(l netlink.Link, all []netlink.Link) string {
	own := l.Attrs()
	for _, upper := range all {
		if upper.Type() == "ipvlan" && upper.Attrs().ParentIndex == own.Index {
			return "the ipvlan interface " + upper.Attrs().Name + " is upon it"
		}
	}
	if !plainName.MatchString(own.Name) {
		return "a rule cannot have its name"
	}
	switch l.Type() {
	case "device":
		if n := len(own.Vfs); n > 0 {
			return fmt.Sprintf("it has %d virtual functions", n)
		}
	case "veth":
	case "bond", "team":
		for _, port := range all {
			if port.Attrs().MasterIndex != own.Index {
				continue
			}
			if way := wayOfPods(port, all); way != "" {
				return fmt.Sprintf("its port %s: %s", port.Attrs().Name, way)
			}
		}
	case "vlan":
		parent, err := netlink.LinkByIndex(own.ParentIndex)
		if err != nil {
			return "the interface below it cannot be seen"
		}
		return wayOfPods(parent, all)
	default:
		return "it is of type " + l.Type()
	}
	return ""
}

// ARPTable is the name of the nftables table, of family arp, that keeps the kernel from answering ARP for the cache's
// addresses on the uplinks: it does so for each address of the host, by whatever interface it is asked. (For IPv6 it
// answers for addresses of that interface only.) Without the addresses the table does nothing, so a table that a dead
// process leaves does no harm.
const ARPTable = "nodelocaldns_arp"

// RefuseARP has the kernel answer no ARP for addrs, of which IPv6 ones are left out, on the interfaces names.
func RefuseARP(names []string, addrs []netip.Addr) error {
	addrs = family.IPv4.Only(addrs)
	if len(names) == 0 || len(addrs) == 0 {
		_ = RemoveARP() // the caller calls it at the end, and returns the error
		return nil
	}
	err := new(nft.Watch).Write([]family.Family{nft.ARP}, ARPTable, steering.CommentUplink, (*nft.Batch).ReplaceTable, func(t *nft.Table) {
		t.Chain("input", "filter", nft.ARPIn, 0)
		for _, name := range names {
			for _, a := range addrs {
				t.Rule(slices.Concat(nft.MatchInput(name), nft.MatchARPRequest(a), nft.Drop())...)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("setting nftables table %s: %w", ARPTable, err)
	}
	return nil
}

// RemoveARP removes the table, if it is there.
func RemoveARP() error { return nft.RemoveTables(ARPTable, nft.ARP) }
