// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial opens a socket in the namespace, "udp" or "tcp", and connects it. A socket keeps the namespace of the thread that opened
// it, so any thread can use it.
func (n *Namespace) Dial(network string, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	return n.DialFrom(network, netip.AddrPort{}, to, timeout)
}

// DialFrom is Dial from a local address and port. The kernel chooses what is zero.
func (n *Namespace) DialFrom(network string, from, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	fd, err := n.socket(network, to.Addr())
	if err != nil {
		return nil, fmt.Errorf("opening a socket in %s: %w", n.Name, err)
	}
	f := os.NewFile(uintptr(fd), network) // the socket does not block, so the runtime's poller waits for it
	defer f.Close()
	if from != (netip.AddrPort{}) {
		if err := bind(fd, from, to.Addr()); err != nil {
			return nil, fmt.Errorf("binding to %s in %s: %w", from, n.Name, err)
		}
	}
	if err := f.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := connect(f, to); err != nil {
		return nil, fmt.Errorf("dial %s %s from port %d: %w", network, to, localPort(fd), err)
	}
	return net.FileConn(f)
}

// DialContext is for an http.Transport. It waits 2 s at most.
func (n *Namespace) DialContext(_ context.Context, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return n.Dial(network, to, 2*time.Second)
}

// Get fetches a page from the namespace, within 2 s.
func (n *Namespace) Get(url string) (string, error) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(body), err
}

func (n *Namespace) socket(network string, to netip.Addr) (fd int, err error) {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Is6() {
		domain = unix.AF_INET6
	}
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	err = n.Run(func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// bind sets a socket's local address and port. Another socket can have the same ones if it has another peer.
func bind(fd int, from netip.AddrPort, to netip.Addr) error {
	addr := from.Addr()
	switch {
	case addr.IsValid():
	case to.Is6():
		addr = netip.IPv6Unspecified()
	default:
		addr = netip.IPv4Unspecified()
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sockaddr(netip.AddrPortFrom(addr, from.Port())))
}

func localPort(fd int) int {
	switch a, _ := unix.Getsockname(fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}

func connect(f *os.File, to netip.AddrPort) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	begin := func(fd uintptr) { err = unix.Connect(int(fd), sockaddr(to)) }
	if cerr := conn.Control(begin); cerr != nil || err != unix.EINPROGRESS {
		return errorOf(cerr, err)
	}
	done := func(fd uintptr) bool {
		soerr, gerr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err = gerr; err == nil && soerr != 0 {
			err = unix.Errno(soerr)
		}
		if err != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err != unix.ENOTCONN
	}
	cerr := conn.Write(done) // calls done whenever the socket may be connected
	return errorOf(cerr, err)
}

func errorOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}
