// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// The sockets with SO_REUSEPORT at one address are a group. The kernel gives a packet to one of them: by a hash, or by a
// program of the group that returns an index (net/core/sock_reuseport.c). An index that does not exist makes the kernel use the
// hash. The order is that of the binds, but the last socket takes the index of a socket that is closed.
//
// If no other process is in the group, it has two sockets: the stock server's and the listener's. The program returns the index
// of the listener's. If another process has sockets in the group, the order is unknown, and the hash is right: somebody reads
// each socket.
//
// The self-queries of the plugin nodelocal always go by the hash. Another process in the group, which may not have this plugin,
// gets ready only when it has received an answer of its own. Without another process the self-queries try both sockets.

// A company says whose sockets are in the group.
type company uint8

const (
	shared company = iota // another process's, too, or it is unknown
	alone                 // only those of this process
)

// nowhere is an index that does not exist.
const nowhere = 1<<31 - 1

// gather makes all packets to the address come to this socket, if the socket is at place.
func (l *listener) gather(place int) error {
	n, err := members(l.addr)
	if err != nil {
		return err
	}
	l.place, l.company = place, shared
	if n == 2 {
		l.company = alone
	}
	return l.prefer(place)
}

// prefer makes the group give all packets to the socket at place, or use the hash if the order is unknown.
func (l *listener) prefer(place int) error {
	if l.company != alone {
		place = nowhere
	}
	return control(l.conn, func(fd int) error { return attachPlace(fd, place) })
}

// withdraw makes the kernel find the socket for no packet any more.
//
// Closing the socket does not suffice. The kernel takes the socket out of the group before it takes the socket out of the table
// of addresses (net/ipv4/udp.c, udp_lib_unhash). A look-up in between finds a socket without a group and gives it the packet
// (udp4_lib_lookup2), which the close then drops. A connected socket is not found for other peers (compute_score) and gets no
// packet of its group by the hash (net/core/sock_reuseport.c). The program of the group names the other socket. The peer of the
// connection is the socket's own address, which nobody else sends from. A packet for which the kernel has found the socket just
// before is in the queue some microseconds later, and the readers read the queue once more.
func (l *listener) withdraw() error {
	n, err := members(l.addr)
	if err != nil || n != 2 {
		l.company = shared
	}
	return errors.Join(l.prefer(1-l.place), control(l.conn, func(fd int) error {
		own, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		return os.NewSyscallError("connect", unix.Connect(fd, own))
	}))
}

// attachPlace makes the group of fd give every packet to the socket at place, except self-queries, which go by the hash. The
// place nowhere makes all packets go by the hash. (Detaching the program would need Linux 5.3.)
func attachPlace(fd, place int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfADMark},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: hostnet.SelfQueryMark, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: nowhere},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(place)},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &prog))
}

// skfADMark is SKF_AD_OFF + SKF_AD_MARK: the packet's mark (include/uapi/linux/filter.h).
const skfADMark = 1<<32 - 0x1000 + 20

// members counts the UDP sockets that are bound to addr in this network namespace.
func members(addr netip.AddrPort) (n int, err error) {
	at := netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	all, err := sockets.List("udp")
	for _, s := range all {
		if s.Local == at {
			n++
		}
	}
	return n, err
}
