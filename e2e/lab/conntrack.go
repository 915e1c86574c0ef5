// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

// Conntrack lists the node's tracked connections to port 53 of one of the addresses, or from one of them.
func (l *Lab) Conntrack(t testing.TB, addrs ...netip.Addr) []string {
	t.Helper()
	var found []string
	for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		flows, err := l.Node.netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			t.Fatalf("listing connections: %v", err)
		}
		for _, f := range flows {
			for _, a := range addrs {
				to := f.Forward.DstPort == 53 && same(f.Forward.DstIP, a)
				from := f.Forward.SrcPort == 53 && same(f.Forward.SrcIP, a)
				if to || from {
					found = append(found, f.String())
				}
			}
		}
	}
	return found
}

// ForgetConntrack empties the node's table of connections.
func (l *Lab) ForgetConntrack(t testing.TB) {
	t.Helper()
	if err := l.Node.netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatalf("flushing connections: %v", err)
	}
}

// logUnanswered says what became of TCP connections that could not be made: their queries name the ports.
func (l *Lab) logUnanswered(t testing.TB) {
	for _, family := range []string{"ipv4", "ipv6"} {
		t.Logf("%s connections that the node tracks and nobody answered:\n%s", family,
			l.Node.Exec(t, "", "conntrack", "-L", "-p", "tcp", "--state", "SYN_SENT", "-f", family))
	}
}

func same(ip net.IP, a netip.Addr) bool {
	b, ok := netip.AddrFromSlice(ip)
	return ok && b.Unmap() == a
}
