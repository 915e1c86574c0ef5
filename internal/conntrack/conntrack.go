// SPDX-License-Identifier: Apache-2.0

// Package conntrack removes entries of the kernel's connection tracking. The numbers are those of the kernel's
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
package conntrack

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// Attributes, by level.
const (
	tupleOrig = 1 // CTA_TUPLE_ORIG

	tupleIP, tupleProto = 1, 2 // CTA_TUPLE_IP, CTA_TUPLE_PROTO

	ipv4Source, ipv6Source = 1, 3 // CTA_IP_V4_SRC, CTA_IP_V6_SRC

	sourcePort = 2 // CTA_PROTO_SRC_PORT
)

// headerLength is the length of struct nfgenmsg, which the attributes follow.
const headerLength = 4

// Forget removes the entries of connections that one of addrs began from port, and returns how many there were. Nobody begins a
// connection from the address and port of a DNS server: an answer made such an entry whose query was not tracked. The kernel takes
// the client's next packets for replies to that answer, and no NAT rule sees these packets.
//
// Forget reads the kernel's table piece by piece, since the table can have hundreds of thousands of entries. The table may change
// meanwhile, so Forget can miss an entry. The error is netlink's. A kernel without connection tracking gives an error, too.
func Forget(addrs []netip.Addr, port uint16) (removed int, err error) {
	for _, f := range family.Among(addrs) {
		var wrong [][]byte
		get := request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, f)
		dumped := get.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(entry []byte) bool {
			if source := origin(entry); source.Port() == port && slices.Contains(addrs, source.Addr()) {
				wrong = append(wrong, slices.Clone(entry))
			}
			return true
		})
		err = errors.Join(err, dumped)
		for _, entry := range wrong {
			remove := request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, f)
			remove.AddRawData(entry[headerLength:])
			_, gone := remove.Execute(unix.NETLINK_NETFILTER, 0)
			switch {
			case gone == nil:
				removed++
			case !errors.Is(gone, unix.ENOENT): // it has run out
				err = errors.Join(err, gone)
			}
		}
	}
	return removed, err
}

func request(command, flags int, f family.Family) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(netlink.ConntrackTable<<8|command, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(f), Version: nl.NFNETLINK_V0})
	return r
}

// origin returns address and port of the party that began the connection of entry. It is zero for an entry without ports.
func origin(entry []byte) netip.AddrPort {
	var addr netip.Addr
	var port uint16
	level(entry[min(headerLength, len(entry)):], func(kind uint16, tuple []byte) {
		if kind != tupleOrig {
			return
		}
		level(tuple, func(kind uint16, part []byte) {
			level(part, func(field uint16, value []byte) {
				switch {
				case kind == tupleIP && (field == ipv4Source || field == ipv6Source):
					addr, _ = netip.AddrFromSlice(value)
				case kind == tupleProto && field == sourcePort && len(value) == 2:
					port = binary.BigEndian.Uint16(value)
				}
			})
		})
	})
	return netip.AddrPortFrom(addr, port)
}

// level calls f with the type and value of each attribute in data.
func level(data []byte, f func(kind uint16, value []byte)) {
	d, err := mdlayher.NewAttributeDecoder(data)
	if err != nil {
		return
	}
	for d.Next() {
		f(d.Type(), d.Bytes())
	}
}
