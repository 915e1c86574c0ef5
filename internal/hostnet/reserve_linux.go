// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A DNS server of the host's that listens at each address that comes, such as
// dnsmasq with bind-dynamic, is often faster than the servers of this process.
// So sockets hold the DNS port of an address from before the address comes until
// the servers have answered, and from before the servers stop until the address has
// gone. The servers share the port with these sockets (SO_REUSEPORT, same user). No
// packet comes to these: one of TCP does not listen, and one of UDP is bound to the
// loopback link. What the host itself sends to an address of another link counts as
// come in by that link (orig_oif in ip_route_output_key_hash_rcu of
// net/ipv4/route.c, from Linux 4.14 on; ip6_rcv_core of net/ipv6/ip6_input.c).

// reservations are the sockets for each address and port.
type reservations map[netip.AddrPort][]int

// reservedUDP has the addresses and ports for which this process has a reservation of UDP.
var reservedUDP sync.Map

// ReservedUDP returns how many UDP sockets of this process are bound to an address and port as a reservation. To the kernel
// they are no part of the servers' group (SO_REUSEPORT), since they are bound to a link.
func ReservedUDP(at netip.AddrPort) int {
	if _, ok := reservedUDP.Load(at); ok {
		return 1
	}
	return 0
}

// reserve takes the port at addrs. It returns no error for a port that it does
// not get: the server that listens there next reports that.
func (n *Network) reserve(addrs ...netip.Addr) {
	if n.reserved == nil {
		n.reserved = reservations{}
	}
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, n.cfg.Port)
		if len(n.reserved[at]) > 0 {
			continue
		}
		for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
			if fd, err := reservePort(kind, at); err == nil {
				n.reserved[at] = append(n.reserved[at], fd)
				if kind == unix.SOCK_DGRAM {
					reservedUDP.Store(at, true)
				}
			}
		}
	}
}

func reservePort(kind int, at netip.AddrPort) (int, error) {
	family, level, freebind := unix.AF_INET, unix.IPPROTO_IP, unix.IP_FREEBIND
	if at.Addr().Is6() {
		family, level, freebind = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, level, freebind, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.BindToDevice(fd, "lo"),
	)
	if err == nil {
		err = unix.Bind(fd, sockaddr(at))
	}
	if err != nil {
		_ = unix.Close(fd) // unbound: closing it cannot lose anything
		return -1, err
	}
	return fd, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}

// release gives all ports back.
func (r reservations) release() {
	for at, fds := range r {
		for _, fd := range fds {
			_ = unix.Close(fd) // nothing was sent or received
		}
		delete(r, at)
		reservedUDP.Delete(at)
	}
}
