// SPDX-License-Identifier: Apache-2.0

// Package family tells IPv4 from IPv6.
package family

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A Family is an address family by the kernel's number, which netlink (AF_INET) and nf_tables (NFPROTO_IPV4) share.
type Family uint8

// The two families.
const (
	IPv4 Family = unix.AF_INET
	IPv6 Family = unix.AF_INET6
)

// Both lists the two families.
var Both = []Family{IPv4, IPv6}

// Of returns the family of a.
func Of(a netip.Addr) Family {
	if a.Is6() {
		return IPv6
	}
	return IPv4
}

// Among returns the families that addrs has an address of, IPv4 first.
func Among(addrs []netip.Addr) (fams []Family) {
	for _, f := range Both {
		if len(f.Only(addrs)) > 0 {
			fams = append(fams, f)
		}
	}
	return fams
}

// Only returns the addresses of family f among addrs.
func (f Family) Only(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return Of(a) != f })
}

// String returns nft's word for the family: ip, ip6, or arp for that of ARP's tables.
func (f Family) String() string {
	return map[Family]string{IPv4: "ip", IPv6: "ip6", unix.NFPROTO_ARP: "arp"}[f]
}
