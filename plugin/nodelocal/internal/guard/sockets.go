// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// descriptors are the open files of this process, as /proc/self/fd lists them. The directory stays open, and there is a spare
// descriptor: list and shut have to work when no other descriptor is free.
type descriptors struct {
	dir   *os.File
	spare int // refers to the directory, or for a moment to a socket
}

func openDescriptors() (*descriptors, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	spare, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), dir.Close())
	}
	return &descriptors{dir, spare}, nil
}

func (d *descriptors) close() error {
	return errors.Join(os.NewSyscallError("close", unix.Close(d.spare)), d.dir.Close())
}

// list returns the numbers of the open descriptors.
func (d *descriptors) list() ([]int, error) {
	if _, err := d.dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := d.dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	fds := make([]int, 0, len(names))
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// shut ends a TCP connection; the server sees the end and closes its descriptor. The number c.fd may belong to another file by
// now. So shut duplicates the descriptor as spare, which nobody else closes, and compares the peer of spare with that of c.
func (d *descriptors) shut(c connection) error {
	if err := unix.Dup3(c.fd, d.spare, unix.O_CLOEXEC); err != nil {
		return ignore(err, unix.EBADF)
	}
	var err error
	if peer, ok := endpoint(unix.Getpeername(d.spare)); ok && peer == c.peer {
		err = ignore(unix.Shutdown(d.spare, unix.SHUT_RDWR), unix.ENOTCONN)
	}
	return errors.Join(err, unix.Dup3(int(d.dir.Fd()), d.spare, unix.O_CLOEXEC))
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// A connection is a TCP connection that a client has made to this process.
type connection struct {
	fd         int
	peer       netip.AddrPort
	port       uint16        // the local one
	unanswered time.Duration // since the client was sent something, or else since the connection was made
}

// sockets are those with which this process serves.
type sockets struct {
	listening   []int // TCP
	udp         []int // of servers at the DNS port
	connections []connection
}

// look finds the sockets among descriptors, and for how long nothing was sent to their clients. A connection is one of a client if
// its local port is one that this process listens at.
func look(fds []int, port uint16) (s sockets) {
	ports := map[uint16]bool{}
	for _, fd := range fds {
		local, ok := endpoint(unix.Getsockname(fd))
		if !ok {
			continue
		}
		peer, connected := endpoint(unix.Getpeername(fd))
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		switch {
		case err != nil: // closed meanwhile
		case kind == unix.SOCK_DGRAM:
			if local.Port() == port && !connected {
				s.udp = append(s.udp, fd)
			}
		case kind == unix.SOCK_STREAM && connected:
			s.connections = append(s.connections, connection{fd: fd, peer: peer, port: local.Port()})
		case kind == unix.SOCK_STREAM && listens(fd):
			s.listening = append(s.listening, fd)
			ports[local.Port()] = true
		}
	}
	s.connections = slices.DeleteFunc(s.connections, func(c connection) bool { return !ports[c.port] })
	for i, c := range s.connections {
		s.connections[i].unanswered = unanswered(c.fd)
	}
	return s
}

func listens(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && on == 1
}

func unanswered(fd int) time.Duration {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return time.Duration(info.Last_data_sent) * time.Millisecond
}

// endpoint reads a socket address of the kernel; ok is false if it is no IP address.
func endpoint(sa unix.Sockaddr, err error) (a netip.AddrPort, ok bool) {
	if err != nil {
		return a, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), true
	}
	return a, false
}

// sendBuffer is the limit, in octets, of the answers of a server's UDP socket that have not left this node; the kernel doubles
// it. No memory is set aside. An answer to a neighbour that does not exist waits in the kernel for 3 s, up to 212,992 octets
// for each neighbour (neigh/*/unres_qlen_bytes), and counts as the socket's. The usual limit is as large, so with it one such
// neighbour keeps the socket from answering all others.
const sendBuffer = 1 << 29

// widen raises the limits of sockets that have a lower one. Without CAP_NET_ADMIN they stay as they are.
func widen(udp []int) (err error) {
	for _, fd := range udp {
		if have, gerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); gerr == nil && have < sendBuffer {
			serr := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
			err = errors.Join(err, os.NewSyscallError("setsockopt SO_SNDBUFFORCE", ignore(serr, unix.EPERM)))
		}
	}
	return err
}

// The buffers of a TCP connection, in octets; the kernel doubles both. With its own limits the kernel keeps up to 6 MB of
// queries for a client, 150,000 of them, which the server still answers half a minute after the client has gone, and 4 MB of
// answers that the client does not read. These limits have room for a few queries, and for the longest answer.
const (
	streamReceive = 4 << 10
	streamSend    = 64 << 10
)

// narrow limits what waits in the connections that come to listening sockets. A connection inherits the buffers' limits from the
// listening socket.
func narrow(listening []int) (err error) {
	for _, fd := range listening {
		if have, gerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); gerr != nil || have <= 2*streamReceive {
			continue
		}
		// The number may be another socket's by now; the copy stays what it is.
		own, derr := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if derr != nil {
			continue // the next look does it
		}
		if listens(own) {
			err = errors.Join(err,
				os.NewSyscallError("setsockopt SO_RCVBUF", unix.SetsockoptInt(own, unix.SOL_SOCKET, unix.SO_RCVBUF, streamReceive)),
				os.NewSyscallError("setsockopt SO_SNDBUF", unix.SetsockoptInt(own, unix.SOL_SOCKET, unix.SO_SNDBUF, streamSend)))
		}
		_ = unix.Close(own)
	}
	return err
}
