// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// receiveBuffer is the room for packets that wait, in octets of payload and of the kernel's structures. The room serves bursts
// and moments without a CPU. It is enough for some 2,500 queries; net.core.rmem_default is enough for 256.
const receiveBuffer = 1 << 20

// sendBuffer is the limit of answers that wait in the kernel, in octets of packets and of the kernel's structures. The limit
// has to exceed what the kernel holds back for neighbours that do not answer: up to unres_qlen_bytes, 212,992, for each
// neighbour whose link-layer address is unknown, and up to gc_thresh3, 1,024, neighbours (net/ipv4/arp.c), 218 MB in all.
// The kernel doubles the value and takes half of INT_MAX at most (net/core/sock.c, SO_SNDBUFFORCE). No memory is set aside.
const sendBuffer = 1 << 29

// open binds a socket beside that of the stock server.
func (l *listener) open() error {
	options := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return control(conn, func(fd int) error {
			// Without CAP_NET_ADMIN the kernel's defaults stay.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
			return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	socket, err := options.ListenPacket(context.Background(), "udp", l.addr.String())
	if err != nil {
		return err
	}
	l.socket = socket.(*net.UDPConn)
	if l.conn, err = l.socket.SyscallConn(); err == nil {
		err = control(l.conn, func(fd int) error {
			l.fd = uintptr(fd)
			return allowed(l.fd)
		})
	}
	if err != nil {
		_ = l.socket.Close()
	}
	return err
}

// allowed returns an error if a sandbox denies a call that the readers need. Nobody would answer once all packets come to this
// socket.
func allowed(fd uintptr) error {
	var none [1]uintptr // messages, of which the calls read none; qemu's user mode wants an address
	for name, call := range map[string]uintptr{"sendmmsg": unix.SYS_SENDMMSG, "recvmmsg": unix.SYS_RECVMMSG} {
		if _, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&none)), 0, unix.MSG_DONTWAIT, 0, 0); errno != 0 {
			return os.NewSyscallError(name, errno)
		}
	}
	return nil
}

// control calls f with the descriptor of a socket.
func control(conn syscall.RawConn, f func(fd int) error) (err error) {
	closed := conn.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(closed, err)
}

// A packet is one that is sent without a batch. syscall.RawConn takes a function, and x/sys takes an address that an interface holds.
// Both are parts of the packet, and packets are used again: to send one allocates nothing.
type packet struct {
	data []byte
	to   unix.Sockaddr // to4 or to6
	to4  unix.SockaddrInet4
	to6  unix.SockaddrInet6
	err  error
	send func(fd uintptr)
}

var packets = sync.Pool{New: func() any {
	p := new(packet)
	p.send = func(fd uintptr) { p.err = unix.Sendto(int(fd), p.data, unix.MSG_DONTWAIT, p.to) }
	return p
}}

// send sends one packet to a Query's Sender. It does not wait for room.
func send(conn syscall.RawConn, data []byte, to netip.AddrPort) error {
	p := packets.Get().(*packet)
	defer packets.Put(p)
	p.data = data
	p.address(to)
	closed := conn.Control(p.send)
	p.data = nil
	return cmp.Or(closed, os.NewSyscallError("sendto", p.err))
}

// address sets the packet's address to that of a Query's Sender.
func (p *packet) address(to netip.AddrPort) {
	if to.Addr().Is4() {
		p.to4 = unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
		p.to = &p.to4
		return
	}
	p.to6 = unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	p.to = &p.to6
	if zone := to.Addr().Zone(); zone != "" {
		id, _ := strconv.ParseUint(zone, 10, 32) // a number, by sender
		p.to6.ZoneId = uint32(id)
	}
}

// The sockets with SO_REUSEPORT at one address are a group. The kernel gives a packet to one of them: by a hash, or by a
// program of the group that returns an index (net/core/sock_reuseport.c). An index that does not exist makes the kernel use the
// hash. A socket's index is its place in the order of binds. When one closes, the last socket gets its index.
//
// If no other process is in the group, it has two sockets: the stock server's and the listener's. The program returns the index
// of the listener's. If another process has sockets in the group, the order is unknown, and the hash is right: somebody reads
// each socket.
//
// The self-queries of the plugin nodelocal always go by the hash: another process becomes ready only if some of its own
// self-queries reach its own socket. If there is no other process, the self-queries try both sockets of this one.

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
