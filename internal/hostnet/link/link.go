// SPDX-License-Identifier: Apache-2.0

// Package link puts the cache's addresses on a link. The kernel takes them away when the process ends, or when it
// stops renewing their lease.
package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// alias marks a link as ours; `ip link` shows it.
const alias = "nodelocaldns cache addresses"

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// Kinds of a link.
const (
	TUN   = "tun"
	Dummy = "dummy"
	None  = "none"
)

// A Link carries the cache's addresses.
type Link interface {
	// Set makes the link exist, be up and carry exactly addrs, each for the lease (0: without an end) from now.
	// repaired is true if the link had gone. If one address cannot be added, the others are.
	Set(addrs []netip.Addr, lease time.Duration) (repaired bool, err error)
	// Yield gives the host another source address for its own queries to the link's addresses. It is called before
	// the addresses go, so that the answers to these queries still arrive.
	Yield() error
	// Index returns the kernel's number of the link; 0: it is not there.
	Index() int
	// OutlivesProcess reports whether the kernel keeps the link when this process ends without Close.
	OutlivesProcess() bool
	// Close removes the link with its addresses.
	Close() error
	// String returns the kind and the name.
	String() string
}

// A maker creates the kernel's link of one kind, which must not exist yet.
type maker interface {
	kind() string
	make(name string) error
	destroy(name string) error
}

// kernelLink is what TUN and dummy links have in common. A maker creates and removes the link.
type kernelLink struct {
	maker
	name  string
	index int // 0: not there
	// renewed has the addresses and when their leases were last renewed; nil: none was ever set.
	renewed map[netip.Addr]time.Time
	// yielded says that the host uses another address of its own for what it asks the link's addresses, and not the address that
	// is asked, as the kernel's route has it. There is no way back but Close.
	yielded bool
}

func (l *kernelLink) String() string { return l.kind() + " " + l.name }

func (l *kernelLink) Index() int { return l.index }

func (l *kernelLink) OutlivesProcess() bool { return l.kind() == Dummy }

func (l *kernelLink) Set(addrs []netip.Addr, lease time.Duration) (repaired bool, err error) {
	made, err := l.ensure()
	if err != nil {
		return false, err
	}
	repaired = made && l.renewed != nil
	if made {
		l.renewed = map[netip.Addr]time.Time{}
	}
	var errs []error
	for _, a := range addrs {
		now := time.Now()
		last, known := l.renewed[a]
		if err := l.addAddress(a, lease, known && (lease == 0 || now.Sub(last) < lease)); err != nil {
			delete(l.renewed, a)
			errs = append(errs, fmt.Errorf("adding %s to %s: %w", a, l.name, explain(err)))
			continue
		}
		l.renewed[a] = now
	}
	for a := range l.renewed {
		if slices.Contains(addrs, a) {
			continue
		}
		if err := netlink.AddrDel(l.handle(), leased(a, 0)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("removing %s from %s: %w", a, l.name, err))
		} else {
			delete(l.renewed, a)
		}
	}
	return repaired, errors.Join(errs...)
}

// addAddress adds an address, or renews an address that is present.
//
// The kernel adds the local route of an IPv6 address a moment after the address. In between, the host already uses
// the address as its source, and would forward the answers. So addAddress adds a route of its own first, and removes
// it when the kernel's is there.
func (l *kernelLink) addAddress(a netip.Addr, lease time.Duration, present bool) error {
	if a.Is4() || present {
		return netlink.AddrReplace(l.handle(), leased(a, lease))
	}
	early := l.localRoute(a)
	early.Priority = 1024 // the kernel's own has 0
	if err := netlink.RouteReplace(early); err != nil {
		return err
	}
	err := netlink.AddrReplace(l.handle(), leased(a, lease))
	for deadline := time.Now().Add(busyWait); err == nil && !l.hasKernelRoute(a) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	return errors.Join(err, netlink.RouteDel(early))
}

func (l *kernelLink) localRoute(a netip.Addr) *netlink.Route {
	return &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Protocol: unix.RTPROT_KERNEL,
		LinkIndex: l.index, Dst: netlink.NewIPNet(a.AsSlice())}
}

// hasKernelRoute reports whether the kernel has added an IPv6 address's own route.
func (l *kernelLink) hasKernelRoute(a netip.Addr) bool {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, l.localRoute(a), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
	return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Priority == 0 })
}

// ensure creates the link if it is not there, and sets it up.
func (l *kernelLink) ensure() (made bool, err error) {
	if l.index != 0 {
		link, err := netlink.LinkByIndex(l.index)
		if err == nil && link.Attrs().RawFlags&unix.IFF_UP != 0 {
			return false, nil
		}
		if err == nil {
			return false, netlink.LinkSetUp(link)
		}
		if !errors.As(err, new(netlink.LinkNotFoundError)) {
			return false, fmt.Errorf("looking for %s: %w", l.name, err)
		}
		l.index = 0
		_ = l.destroy(l.name) // what it held of the lost link is of no use
	}
	if err := l.make(l.name); err != nil {
		return false, fmt.Errorf("creating %s: %w", l, explain(err))
	}
	link, err := netlink.LinkByName(l.name)
	if err != nil {
		return false, errors.Join(fmt.Errorf("looking for %s: %w", l.name, err), l.destroy(l.name))
	}
	l.index = link.Attrs().Index
	// Without these the link works too: a mark for people, and no address of the kernel's own.
	_ = netlink.LinkSetAlias(link, alias)
	_ = netlink.LinkSetIP6AddrGenMode(link, addrGenModeNone)
	if err := netlink.LinkSetUp(link); err != nil {
		return false, fmt.Errorf("setting %s up: %w", l.name, err)
	}
	return true, nil
}

func (l *kernelLink) handle() netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: l.name, Index: l.index}}
}

func (l *kernelLink) Close() error {
	if l.index == 0 {
		return nil
	}
	l.index, l.renewed, l.yielded = 0, nil, false
	if err := l.destroy(l.name); err != nil {
		return fmt.Errorf("removing %s: %w", l, err)
	}
	return nil
}

func (l *kernelLink) Yield() error {
	if l.yielded {
		return nil
	}
	l.yielded = true
	var errs []error
	for a := range l.renewed {
		out := WayOut(family.Of(a))
		if len(out) == 0 || out[0].Src == nil {
			continue // a host without a way out has nobody else to ask
		}
		route := l.localRoute(a)
		route.Src = out[0].Src
		if err := replaceLocalRoute(route, family.Of(a)); err != nil {
			errs = append(errs, fmt.Errorf("changing the source of the local route to %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

// replaceLocalRoute puts route in the place of the kernel's route. The kernel's IPv6 route has metric 0, which a
// request cannot name. So the new route comes first, with the metric that the kernel gives it, and the old one is
// deleted.
func replaceLocalRoute(route *netlink.Route, f family.Family) error {
	if f == family.IPv4 {
		route.Scope = netlink.SCOPE_HOST
		return netlink.RouteReplace(route)
	}
	if err := netlink.RouteAppend(route); err != nil {
		return err
	}
	kernels := *route
	kernels.Src = nil
	return netlink.RouteDel(&kernels)
}

// nowhere has an address of each family that nobody has (RFC 5737, RFC 3849).
var nowhere = map[family.Family]net.IP{family.IPv4: net.IPv4(192, 0, 2, 254), family.IPv6: net.ParseIP("2001:db8:ffff:ffff::1")}

// WayOut asks the kernel for the route to an address that nobody has, which is the host's default route. Nothing is sent. A host
// without a way out has no such route.
func WayOut(f family.Family) []netlink.Route {
	routes, _ := netlink.RouteGet(nowhere[f])
	return routes
}

// IsLocal reports whether the kernel takes packets to a for its own, as the rules ask it (fib daddr type local,
// addrtype).
func IsLocal(a netip.Addr) bool {
	routes, err := netlink.RouteGet(a.AsSlice())
	return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL })
}

// leased returns a as netlink wants it. The kernel should not prefer an address of ours as the source of the node's
// own traffic. For IPv4 host scope says so, for IPv6 a preferred lifetime of 0. Duplicate address detection would
// only delay the start, as nobody else is on the link.
func leased(a netip.Addr, lease time.Duration) *netlink.Addr {
	const forever = 0xffffffff // INFINITY_LIFE_TIME of linux/if_addr.h
	addr := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice()), ValidLft: forever}
	if lease > 0 {
		addr.ValidLft = int(lease / time.Second)
	}
	if a.Is4() {
		addr.PreferedLft, addr.Scope = addr.ValidLft, int(netlink.SCOPE_HOST)
	} else {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// explain adds to an error of the kernel what a user can do.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: is CAP_NET_ADMIN missing, or IPv6 disabled on this host (net.ipv6.conf.all.disable_ipv6)?", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w by this kernel", err)
	}
	return err
}

// none is used where somebody else manages the link and its addresses.
type none struct{}

func (none) Set([]netip.Addr, time.Duration) (bool, error) { return false, nil }
func (none) Yield() error                                  { return nil }
func (none) Index() int                                    { return 0 }
func (none) OutlivesProcess() bool                         { return false }
func (none) Close() error                                  { return nil }
func (none) String() string                                { return "no link" }
