// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// Leases returns for how long the kernel will keep each of addrs that a link of this host carries, unless somebody renews its
// lease; a negative time is for ever.
func Leases(addrs []netip.Addr) map[netip.Addr]time.Duration {
	all, _ := Uninterrupted(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) }) // what is not listed is not known
	left := map[netip.Addr]time.Duration{}
	for _, a := range all {
		ip, _ := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !slices.Contains(addrs, ip) {
			continue
		}
		// INFINITY_LIFE_TIME of linux/net/addrconf.h; another link may carry the address without end.
		if d := time.Duration(a.ValidLft) * time.Second; a.ValidLft > 0 && a.ValidLft < math.MaxUint32 {
			left[ip] = d
		} else if _, ok := left[ip]; !ok {
			left[ip] = -1
		}
	}
	return left
}

// Look describes the links with our mark, and the one of that name, with their addresses.
func Look(name string) (found []string, err error) {
	links, err := Uninterrupted(netlink.LinkList)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Alias != alias && l.Attrs().Name != name {
			continue
		}
		held, err := addresses(l)
		if err != nil {
			return found, err
		}
		ips := []string{}
		for _, a := range held {
			ips = append(ips, a.ip.String())
		}
		if len(ips) == 0 {
			ips = []string{"no address"}
		}
		found = append(found, fmt.Sprintf("link %s (%s) with %s", l.Attrs().Name, l.Type(), strings.Join(ips, " ")))
	}
	return found, nil
}
