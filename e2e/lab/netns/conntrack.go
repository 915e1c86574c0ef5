// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// Conntrack lists the tracked connections to or from port 53 of one of the addresses.
func (n *Namespace) Conntrack(t testing.TB, addrs ...netip.Addr) []string {
	t.Helper()
	var found []string
	for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		flows, err := n.Netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			t.Fatalf("listing connections: %v", err)
		}
		for _, f := range flows {
			if dnsAt(addrs).MatchConntrackFlow(f) {
				found = append(found, f.String())
			}
		}
	}
	return found
}

// dnsAt matches the connections to or from port 53 of one of these addresses.
type dnsAt []netip.Addr

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (addrs dnsAt) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool {
		return f.Forward.DstPort == 53 && same(f.Forward.DstIP, a) || f.Forward.SrcPort == 53 && same(f.Forward.SrcIP, a)
	})
}

// ForgetConntrack deletes the connections that Conntrack lists; without an address it empties the table. A program that uses
// such a connection further finds it reset.
func (n *Namespace) ForgetConntrack(t testing.TB, addrs ...netip.Addr) {
	t.Helper()
	if len(addrs) > 0 {
		for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			if _, err := n.Netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, dnsAt(addrs)); err != nil {
				t.Fatalf("deleting connections: %v", err)
			}
		}
		return
	}
	if err := n.Netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatalf("flushing connections: %v", err)
	}
}

// LogUnanswered logs the TCP connections whose SYN nobody has answered. The errors of Dial name the port by which to find a
// connection in the list.
func (n *Namespace) LogUnanswered(t testing.TB) {
	for _, family := range []string{"ipv4", "ipv6"} {
		t.Logf("%s connections that the node tracks and nobody answered:\n%s", family,
			n.Exec(t, "", "conntrack", "-L", "-p", "tcp", "--state", "SYN_SENT", "-f", family))
	}
}

func same(ip net.IP, a netip.Addr) bool {
	b, ok := netip.AddrFromSlice(ip)
	return ok && b.Unmap() == a
}
