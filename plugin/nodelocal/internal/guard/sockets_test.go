// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// A service is a TCP listener that takes everybody in, and a UDP socket at the same port.
type service struct {
	addr  netip.AddrPort
	tcp   *net.TCPListener
	udp   *net.UDPConn
	ended chan string // peers of connections that have ended
}

func newService(t *testing.T, ip string) *service {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as in the program
	l, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		if ip != "::1" {
			t.Fatalf("no listener at %s: %v", ip, err)
		}
		t.Skipf("no listener at %s, in a kernel without IPv6: %v", ip, err)
	}
	s := &service{tcp: l.(*net.TCPListener), addr: l.Addr().(*net.TCPAddr).AddrPort(), ended: make(chan string, 64)}
	t.Cleanup(func() { l.Close() })
	if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.udp.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c) // an answer for each query
				c.Close()
				s.ended <- c.RemoteAddr().String()
			}()
		}
	}()
	return s
}

// connect connects from a local address; the connection is there on both sides when it has echoed an octet.
func (s *service) connect(t *testing.T, from string) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 300 * time.Millisecond}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(context.Background(), "tcp", s.addr.String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	_, werr := c.Write([]byte{1})
	_, rerr := io.ReadFull(c, make([]byte, 1))
	return c, errors.Join(werr, rerr)
}

func (s *service) mustConnect(t *testing.T, from string) net.Conn {
	t.Helper()
	c, err := s.connect(t, from)
	if err != nil {
		t.Fatalf("connecting from %s: %v", from, err)
	}
	return c
}

func openTest(t *testing.T) *descriptors {
	t.Helper()
	d, err := openDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// seen is the service's own part of what look finds.
func (s *service) seen(t *testing.T, d *descriptors) (own sockets) {
	t.Helper()
	fds, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	all := look(fds, s.addr.Port())
	for _, c := range all.connections {
		if local, _ := endpoint(unix.Getsockname(c.fd)); local == s.addr {
			own.connections = append(own.connections, c)
		}
	}
	for _, fd := range all.listening {
		if local, _ := endpoint(unix.Getsockname(fd)); local == s.addr {
			own.listening = append(own.listening, fd)
		}
	}
	own.udp = all.udp
	return own
}

func TestLookAndShut(t *testing.T) {
	s, d := newService(t, "127.0.0.1"), openTest(t)
	a, b := s.mustConnect(t, "127.0.0.2"), s.mustConnect(t, "127.0.0.3")
	own := s.seen(t, d)
	if len(own.listening) != 1 || len(own.udp) != 1 || len(own.connections) != 2 {
		t.Fatalf("%+v, want a listener, a UDP socket, and the two connections that were accepted", own)
	}
	c := own.connections[0]
	if c.peer.String() != a.LocalAddr().String() {
		c = own.connections[1]
	}
	stranger := c
	stranger.peer = netip.MustParseAddrPort("192.0.2.1:1")
	if err := errors.Join(d.shut(stranger), d.shut(connection{fd: 1 << 20}), d.shut(c)); err != nil {
		t.Error(err)
	}
	select {
	case peer := <-s.ended:
		if peer != a.LocalAddr().String() {
			t.Errorf("the connection of %s has ended, want that of %s", peer, a.LocalAddr())
		}
	case <-time.After(5 * time.Second):
		t.Error("the connection has not ended")
	}
	if n, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %d, %v; want the end", n, err)
	}
	if _, err := b.Write([]byte{1}); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Errorf("the other client: %v", err)
	}
}

func TestUnanswered(t *testing.T) {
	s, d := newService(t, "127.0.0.1"), openTest(t)
	old := s.mustConnect(t, "127.0.0.2")
	deadline := time.Now().Add(5 * time.Second)
	for s.seen(t, d).connections[0].unanswered < 50*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatal("the time without an answer does not grow")
		}
	}
	s.mustConnect(t, "127.0.0.3")
	for _, c := range s.seen(t, d).connections {
		if isOld := c.peer.String() == old.LocalAddr().String(); isOld != (c.unanswered >= 50*time.Millisecond) {
			t.Errorf("%s: nothing was sent for %s", c.peer, c.unanswered)
		}
	}
}

// TestRefuse has the kernel drop what begins a connection from one client, and nothing else.
func TestRefuse(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			s, d := newService(t, ip), openTest(t)
			good, bad := "127.0.0.2", "127.0.0.3"
			if ip == "::1" {
				good, bad = "::1", "" // there is one address, so its client is refused later
			}
			early := s.mustConnect(t, good)
			refuseOne(t, s, d, bad)
			if bad != "" {
				if c, err := s.connect(t, bad); err == nil {
					t.Errorf("%s is let in: %s", bad, c.RemoteAddr())
				}
			}
			inherited := s.mustConnect(t, good)
			refuseOne(t, s, d, good)
			if c, err := s.connect(t, good); err == nil {
				t.Errorf("%s is let in: %s", good, c.RemoteAddr())
			}
			for _, c := range []net.Conn{early, inherited} {
				_, werr := c.Write([]byte{1})
				_, rerr := io.ReadFull(c, make([]byte, 1))
				if err := errors.Join(werr, rerr); err != nil {
					t.Errorf("a connection that is there: %v", err)
				}
			}
			for range 2 { // the second time there is nothing to take away
				if err := refuse(s.seen(t, d).listening[0], nil); err != nil {
					t.Error(err)
				}
			}
			s.mustConnect(t, good)
		})
	}
}

// refuseOne refuses one client, among as many others as a filter has room for.
func refuseOne(t *testing.T, s *service, d *descriptors, ip string) {
	t.Helper()
	var clients []netip.Addr
	for i := range maxRefused - 1 {
		clients = append(clients, netip.MustParseAddr(fmt.Sprintf("::1:%x", i)))
	}
	if ip != "" {
		clients = append(clients, netip.MustParseAddr(ip))
	}
	if err := refuse(s.seen(t, d).listening[0], clients); err != nil {
		t.Fatal(err)
	}
}

func TestWiden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	s, d := newService(t, "127.0.0.1"), openTest(t)
	fds := s.seen(t, d).udp
	if err := widen(fds); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || n < sendBuffer {
		t.Errorf("%d octets, %v; want %d", n, err, sendBuffer)
	}
	if err := widen(fds); err != nil {
		t.Error(err)
	}
}

// TestTheGuardsEnd has a guard refuse a client, and end: the next configuration's guard knows nothing of that client.
func TestTheGuardsEnd(t *testing.T) {
	s := newService(t, "127.0.0.1")
	g, err := newGuard(s.addr.Port(), prometheus.NewCounter(prometheus.CounterOpts{}))
	if err != nil {
		t.Fatal(err)
	}
	g.refuse(s.seen(t, g.open).listening, []netip.Addr{netip.MustParseAddr("127.0.0.3")})
	if c, err := s.connect(t, "127.0.0.3"); err == nil {
		t.Errorf("a refused client is let in: %s", c.LocalAddr())
	}
	g.run()
	g.stop()
	s.mustConnect(t, "127.0.0.3")
}

// TestRefusedHost has a guard refuse the address that a service is at. Others than DNS go on to let it in: a kubelet asks for
// /health from there.
func TestRefusedHost(t *testing.T) {
	s := newService(t, "127.0.0.1")
	for port, want := range map[uint16]bool{s.addr.Port(): false, 1: true} {
		g, err := newGuard(port, prometheus.NewCounter(prometheus.CounterOpts{}))
		if err != nil {
			t.Fatal(err)
		}
		g.refuse(s.seen(t, g.open).listening, []netip.Addr{s.addr.Addr(), netip.MustParseAddr("127.0.0.3")})
		if _, err := s.connect(t, "127.0.0.1"); (err == nil) != want {
			t.Errorf("DNS is at port %d: the host's own connection to port %d: %v", port, s.addr.Port(), err)
		}
		if _, err := s.connect(t, "127.0.0.3"); err == nil {
			t.Errorf("DNS is at port %d: a refused client is let in at port %d", port, s.addr.Port())
		}
		g.refuse(s.seen(t, g.open).listening, nil)
		if err := g.open.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNarrow has the longest message go both ways over a connection that was made after its listener's limits were set.
func TestNarrow(t *testing.T) {
	s, d := newService(t, "127.0.0.1"), openTest(t)
	for range 2 {
		if err := narrow(s.seen(t, d).listening); err != nil {
			t.Fatal(err)
		}
	}
	c := s.mustConnect(t, "127.0.0.1")
	fd := s.seen(t, d).connections[0].fd
	for option, want := range map[int]int{unix.SO_RCVBUF: 2 * streamReceive, unix.SO_SNDBUF: 2 * streamSend} {
		if have, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil || have != want {
			t.Errorf("option %d of the connection is %d, %v; want %d", option, have, err, want)
		}
	}
	longest := make([]byte, 2+65535)
	go func() { _, _ = c.Write(longest) }()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(c, make([]byte, len(longest))); err != nil {
		t.Errorf("%d octets came back: %v", n, err)
	}
}
