// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"fmt"
	"net"
	"os"
	"strconv"

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
	sa, family, err := sockaddr(l.local)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	l.socket = os.NewFile(uintptr(fd), l.addr.String())
	// Without CAP_NET_ADMIN the kernel's defaults stay.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	err = os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	if err == nil && family == unix.AF_INET6 {
		err = os.NewSyscallError("setsockopt IPV6_V6ONLY", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err == nil {
		err = allowed(fd)
	}
	if err == nil {
		l.fd = uintptr(fd)
		l.conn, err = l.socket.SyscallConn()
	}
	if err != nil {
		_ = l.socket.Close()
	}
	return err
}

// allowed returns an error if a sandbox denies a call that the readers need. Nobody would answer once all packets come to this
// socket.
func allowed(fd int) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("sendmmsg", errno)
	}
	_, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("recvmmsg", errno)
	}
	return nil
}

// sockaddr returns a as the kernel takes it, and the family of a. The zone is a number, as in Query.Remote, or a name.
func sockaddr(a *net.UDPAddr) (unix.Sockaddr, int, error) {
	if ip := a.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}, unix.AF_INET, nil
	}
	sa := &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}
	if a.Zone != "" {
		if zone, err := strconv.ParseUint(a.Zone, 10, 32); err == nil {
			sa.ZoneId = uint32(zone)
		} else if link, err := net.InterfaceByName(a.Zone); err == nil {
			sa.ZoneId = uint32(link.Index)
		} else {
			return nil, 0, fmt.Errorf("zone of %s: %w", a, err)
		}
	}
	return sa, unix.AF_INET6, nil
}
