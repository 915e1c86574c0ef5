// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddresses gives eth0 of the namespace that number of further addresses in the /64 of its own IPv6 address, pod. It returns
// them.
func (n *Namespace) AddAddresses(t testing.TB, pod netip.Addr, number int) (addrs []netip.Addr) {
	t.Helper()
	var prefixes []string
	for i := range number {
		b := pod.As16()
		b[13], b[14], b[15] = 1, byte(i>>8), byte(i)
		addrs = append(addrs, netip.AddrFrom16(b))
		prefixes = append(prefixes, netip.PrefixFrom(addrs[i], 64).String())
	}
	n.Configure(t, "eth0", prefixes)
	return addrs
}

// Join connects node and other by a pair of veth links: name in node, eth0 in other. The addresses have their prefix lengths.
// The default routes of other go to the addresses of node.
func Join(t testing.TB, node *Namespace, name string, addrs []string, other *Namespace, otherAddrs []string) {
	t.Helper()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(int(other.Handle))
	if err := node.Netlink.LinkAdd(veth); err != nil {
		t.Fatalf("adding %s: %v", name, err)
	}
	node.Configure(t, name, addrs)
	other.Configure(t, "eth0", otherAddrs)
	other.DefaultRoutes(t, addrs)
}

// Configure takes a link up and gives it addresses, each with its prefix length. Duplicate address detection is off, so the
// addresses can be used at once.
func (n *Namespace) Configure(t testing.TB, name string, addrs []string) {
	t.Helper()
	link, err := n.Netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("looking up %s in %s: %v", name, n.Name, err)
	}
	if err := n.Netlink.LinkSetUp(link); err != nil {
		t.Fatalf("taking %s up: %v", name, err)
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := n.Netlink.AddrAdd(link, addr); err != nil {
			t.Fatalf("adding %s to %s: %v", a, name, err)
		}
	}
}

// DefaultRoutes adds a default route through each gateway, which is given by its address with the prefix length.
func (n *Namespace) DefaultRoutes(t testing.TB, gateways []string) {
	t.Helper()
	for _, g := range gateways {
		gw := netip.MustParsePrefix(g).Addr()
		if err := n.Netlink.RouteAdd(&netlink.Route{Gw: net.IP(gw.AsSlice())}); err != nil {
			t.Fatalf("adding the default route of %s through %s: %v", n.Name, gw, err)
		}
	}
}
