// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// others has a program of the host's try to listen at the port, as dnsmasq does.
func others(kind int, at netip.AddrPort) error {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, sockaddr(at)))
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 1)
	}
	return err
}

// TestReserved has a server of another's try for the port before the servers of this process listen, while
// they do, and after the end.
func TestReserved(t *testing.T) {
	inNamespace(t)
	n := open(t, testConfig())
	taken := func(when string, want error) {
		t.Helper()
		for _, a := range testConfig().Addresses {
			for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
				if err := others(kind, netip.AddrPortFrom(a, 53)); !errors.Is(err, want) {
					t.Errorf("%s, %s, kind %d: got %v, want %v", when, a, kind, err, want)
				}
			}
		}
	}
	taken("before", unix.EADDRINUSE)
	if err := n.Steer(testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	for _, a := range testConfig().Addresses {
		hears(t, netip.AddrPortFrom(a, 53))
	}
	command(t, "ip", "link", "del", "nodelocaldns")
	if repaired, err := n.Renew(); !repaired || err != nil {
		t.Fatal(repaired, err)
	}
	taken("after a repair", unix.EADDRINUSE)
	closeNetwork(t, n)
	taken("after the end", unix.EADDRNOTAVAIL)
}

// hears listens as CoreDNS does, and has all of some packets and a connection arrive.
func hears(t *testing.T, at netip.AddrPort) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	udp, err := lc.ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := lc.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for i := range 32 { // each from another port
		c, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, i)
		_ = udp.SetReadDeadline(time.Now().Add(2 * time.Second))
		got := make([]byte, 16)
		if n, _, err := udp.ReadFrom(got); err != nil || string(got[:n]) != fmt.Sprint(i) {
			t.Fatalf("%s: packet %d: got %q, %v", at, i, got[:n], err)
		}
		_ = c.Close()
	}
	c, err := net.DialTimeout("tcp", at.String(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// TestReservedUntilServed has the sockets go when the servers have answered, and after a reload.
func TestReservedUntilServed(t *testing.T) {
	inNamespace(t)
	cfg := testConfig()
	cfg.Addresses = cfg.Addresses[:1]
	n := open(t, cfg)
	defer closeNetwork(t, n)
	reserved := func(when string, want int) {
		t.Helper()
		if len(n.reserved) != want {
			t.Errorf("%s: %d ports, want %d", when, len(n.reserved), want)
		}
		udp := 0
		for _, a := range testConfig().Addresses {
			udp += ReservedUDP(netip.AddrPortFrom(a, testConfig().Port))
		}
		if udp != want {
			t.Errorf("%s: %d UDP sockets are told of, want %d", when, udp, want)
		}
	}
	reserved("opened", 1)
	n.Heard()
	reserved("served", 0)
	if err := n.Prepare(testConfig(), func() {}); err != nil {
		t.Fatal(err)
	}
	reserved("reloading", len(testConfig().Addresses)-1)
	if err := n.Commit(); err != nil {
		t.Fatal(err)
	}
	reserved("reloaded", 0)
}
