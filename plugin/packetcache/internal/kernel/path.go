// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// pathTo returns the Ethernet address to which the stack would send an answer of server to client by an interface. ok is false if the
// stack would send the answer by another interface, or does not know the address.
//
// The program sends an answer back to where the query came from. If the program did not ask for this path, a host could send queries with
// the address of another host, and read the answers.
func pathTo(client, server netip.Addr, ifindex uint32) (mac uint64, ok bool) {
	o := &netlink.RouteGetOptions{SrcAddr: server.AsSlice()}
	if client.IsLinkLocalUnicast() {
		o.OifIndex = int(ifindex)
	}
	routes, err := netlink.RouteGetWithOptions(client.AsSlice(), o)
	if err != nil || len(routes) == 0 || routes[0].LinkIndex != int(ifindex) || routes[0].Via != nil || routes[0].Encap != nil {
		return 0, false
	}
	if ifindex == loopback {
		return 0, true
	}
	hop := net.IP(client.AsSlice())
	if gw := routes[0].Gw; gw != nil {
		hop = gw
	}
	return neighbour(ifindex, hop)
}

// neighbour returns what the kernel knows as the Ethernet address of an IP address at an interface.
func neighbour(ifindex uint32, ip net.IP) (mac uint64, ok bool) {
	family := nl.GetIPFamily(ip)
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: ifindex})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, ip))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil || len(answers) == 0 {
		return 0, false
	}
	n, err := netlink.NeighDeserialize(answers[0])
	if err != nil || len(n.HardwareAddr) != 6 {
		return 0, false
	}
	return macOf(n.HardwareAddr), true
}

// macOf is an Ethernet address as the program has it.
func macOf(a net.HardwareAddr) uint64 {
	var b [8]byte
	copy(b[:], a)
	return binary.LittleEndian.Uint64(b[:])
}
