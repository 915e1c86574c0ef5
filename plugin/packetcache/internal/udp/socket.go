// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the room for packets that wait, in octets of payload and of the kernel's structures. The room serves bursts
// and moments without a CPU. It is enough for some 2,500 queries; net.core.rmem_default is enough for 256.
const receiveBuffer = 1 << 20

// sendBuffer is the limit of answers that have not left this node, in octets of packets and of the kernel's structures. The limit
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
	if _, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, 0, 0, unix.MSG_DONTWAIT, 0, 0); errno != 0 {
		return os.NewSyscallError("sendmmsg", errno)
	}
	if _, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, 0, 0, unix.MSG_DONTWAIT, 0, 0); errno != 0 {
		return os.NewSyscallError("recvmmsg", errno)
	}
	return nil
}

// control calls f with the descriptor of a socket.
func control(conn syscall.RawConn, f func(fd int) error) (err error) {
	return errors.Join(conn.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}

// sockaddr returns the address of a Query's Sender as the kernel takes it.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	zone, _ := strconv.ParseUint(a.Addr().Zone(), 10, 32) // a number, by sender
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: uint32(zone)}
}
