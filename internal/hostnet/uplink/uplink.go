// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Values of Config.Uplink.
const (
	// UplinkAuto accepts nothing that comes in by an interface of a default
	// route, unless pods may come in by it: the host's own firewall decides.
	UplinkAuto = "auto"
	// UplinkOpen accepts DNS from whoever it comes, as the reference does.
	UplinkOpen = "open"
)

// An Uplink is the interface of a default route of the main table. Our accept
// rules leave out what comes in by it, and the host answers no ARP for the cache's
// addresses there, unless pods may come in by it.
type Uplink struct {
	Name string
	// Pods says why pods may come in by it. DNS is accepted then, as at any other
	// interface: no pod may be locked out. Empty: no pod comes in by it.
	Pods string
}

// String returns the name, with the reason in parentheses if there is one.
func (u Uplink) String() string {
	if u.Pods == "" {
		return u.Name
	}
	return fmt.Sprintf("%s (%s)", u.Name, u.Pods)
}

// uplinks lists the interfaces of the default routes of both families, by name.
func uplinks() ([]Uplink, error) {
	links, err := uninterrupted(netlink.LinkList)
	if err != nil { // a list without an ipvlan interface would lock out pods
		return nil, fmt.Errorf("listing links: %w", err)
	}
	var out []Uplink
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := defaultRoutes(family)
		if err != nil {
			return nil, err
		}
		routes = append(routes, wayToNowhere(family)...)
		for _, r := range routes {
			for _, index := range waysOut(r) {
				link, err := netlink.LinkByIndex(index)
				if err != nil {
					continue // it has gone since, and its route with it
				}
				u := Uplink{link.Attrs().Name, wayOfPods(link, links)}
				if !slices.Contains(out, u) {
					out = append(out, u)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Uplink) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// nowhere has an address of each family that nobody has (RFC 5737, RFC 3849).
var nowhere = map[int]net.IP{netlink.FAMILY_V4: net.IPv4(192, 0, 2, 254), netlink.FAMILY_V6: net.ParseIP("2001:db8:ffff:ffff::1")}

// wayToNowhere asks the kernel for the gateway to an address that nobody has. That is the default route's, also if
// the route names a nexthop object in the place of an interface, or stands in another table.
func wayToNowhere(family int) []netlink.Route {
	way, err := netlink.RouteGet(nowhere[family])
	if err != nil {
		return nil // no way
	}
	return slices.DeleteFunc(way, func(r netlink.Route) bool { return r.Gw == nil && r.Via == nil })
}

// uninterrupted reads a list of the kernel's. While links or routes come and go the
// kernel may say that a list is not of one moment: it is read again, some times, and
// the error is netlink.ErrDumpInterrupted at last.
func uninterrupted[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// defaultRoutes lists the routes of the main table to everywhere. A list that is not
// of one moment is good enough: an uplink that it lacks is open until the next look.
func defaultRoutes(family int) ([]netlink.Route, error) {
	routes, err := uninterrupted(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return slices.DeleteFunc(routes, func(r netlink.Route) bool {
		everywhere := true
		if r.Dst != nil {
			ones, _ := r.Dst.Mask.Size()
			everywhere = ones == 0
		}
		return !everywhere || r.Type != unix.RTN_UNICAST
	}), nil
}

// waysOut returns the indices of the interfaces of a route, one or several.
func waysOut(r netlink.Route) []int {
	if len(r.MultiPath) == 0 {
		return []int{r.LinkIndex}
	}
	var out []int
	for _, hop := range r.MultiPath {
		out = append(out, hop.LinkIndex)
	}
	return out
}

// plainName is a name that iptables takes for itself: a last + would stand for any rest.
var plainName = regexp.MustCompile(`^[A-Za-z0-9._:@-]+$`)

// wayOfPods says why pods may come in by an interface of a default route; empty
// if none does. By an interface of an unknown kind they may.
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
func wayOfPods(link netlink.Link, all []netlink.Link) string {
	for _, upper := range all {
		if upper.Type() == "ipvlan" && upper.Attrs().ParentIndex == link.Attrs().Index {
			return "the ipvlan interface " + upper.Attrs().Name + " is upon it"
		}
	}
	if !plainName.MatchString(link.Attrs().Name) {
		return "a rule cannot have its name"
	}
	switch kind := link.Type(); kind {
	case "device":
		if n := len(link.Attrs().Vfs); n > 0 {
			return fmt.Sprintf("it has %d virtual functions", n)
		}
		return ""
	case "veth":
		return ""
	case "bond", "team":
		for _, port := range all {
			if port.Attrs().MasterIndex != link.Attrs().Index {
				continue
			}
			if way := wayOfPods(port, all); way != "" {
				return fmt.Sprintf("its port %s: %s", port.Attrs().Name, way)
			}
		}
		return ""
	case "vlan":
		parent, err := netlink.LinkByIndex(link.Attrs().ParentIndex)
		if err != nil {
			return "the interface below it cannot be seen"
		}
		return wayOfPods(parent, all)
	default:
		return "it is of type " + kind
	}
}

// Uplinks returns the interfaces of the default routes, as last seen. There are
// none if the rules are somebody else's, or Config.Uplink is UplinkOpen.
func (n *Network) Uplinks() []Uplink { return n.uplinks }

// lookAtUplinks brings what Uplinks returns up to date, and reports whether that changed.
func (n *Network) lookAtUplinks() (changed bool, err error) {
	var now []Uplink
	if n.cfg.Firewall != None && n.cfg.Uplink != UplinkOpen {
		if now, err = uplinks(); err != nil {
			return false, err
		}
	}
	if len(now) == 0 && n.cfg.Uplink != UplinkOpen { // a default route that is gone for a moment is no reason to open the node
		now = slices.DeleteFunc(slices.Clone(n.uplinks), func(u Uplink) bool {
			_, err := netlink.LinkByName(u.Name)
			return err != nil
		})
	}
	changed = !slices.Equal(now, n.uplinks)
	n.uplinks = now
	return changed, nil
}

// closed returns the names of the uplinks that no pod comes in by.
func (n *Network) closed() (names []string) {
	for _, u := range n.uplinks {
		if u.Pods == "" {
			names = append(names, u.Name)
		}
	}
	return names
}

// FollowUplinks makes the rules those of the default routes as they are now. It
// returns ErrTurn or ErrLocked if that is to be tried again.
func (n *Network) FollowUplinks() error {
	before := n.uplinks
	changed, err := n.lookAtUplinks()
	if !changed || err != nil {
		return err
	}
	if err := n.Steer(n.steered); err != nil {
		n.uplinks = before // to be tried again
		return err
	}
	return nil
}
