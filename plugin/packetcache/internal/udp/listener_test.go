// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// dial connects to addr.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestLease goes through the life of two leases of one socket.
func TestLease(t *testing.T) {
	ls, addr := New(t.Logf), netip.MustParseAddrPort(wiretest.FreePort(t))
	var leases []*Lease
	listen := func() {
		if err := ls.Listen(addr, func(l *Lease) Backend {
			leases = append(leases, l)
			return &fakeBackend{store: store.New(8 << 20)}
		}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(when string, want ...state) {
		t.Helper()
		for i, l := range leases {
			if l.state != want[i] {
				t.Errorf("%s: lease %d is in state %d, want %d", when, i, l.state, want[i])
			}
		}
	}
	listen()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	leases[0].Await(done) // nobody took over
	is("one lease", current)
	listen()
	leases[0].Await(t.Context())
	is("taken over", handedOver, current)
	for i, want := range []int{1, 0} {
		if told := leases[i].backend.(*fakeBackend).replaced; told != want {
			t.Errorf("backend %d was told %d times that it was replaced, want %d", i, told, want)
		}
	}
	leases[0].Withdraw()
	leases[0].Close()
	is("the first ends", handedOver, current)
	if ls.at[addr].lease != leases[1] {
		t.Error("the second lease does not have the socket")
	}
	leases[1].Close()
	is("closed too early", handedOver, current)
	leases[1].Withdraw()
	is("the second is withdrawn", handedOver, withdrawn)
	if err := leases[1].Send([]byte{0}, leases[1].Addr().AddrPort()); err != nil {
		t.Error(err)
	}
	leases[1].Withdraw()
	leases[1].Close()
	is("the second is closed", handedOver, closed)
	if err := leases[1].Send([]byte{0}, leases[1].Addr().AddrPort()); err == nil || len(ls.at) != 0 {
		t.Error("the socket is open, or the address taken")
	}
}

// TestRoom looks at the limit for answers, and sends 2,000 queries before any is read.
func TestRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has more room than the kernel's default")
	}
	addr := netip.MustParseAddrPort(wiretest.FreePort(t))
	l := newListener(New(t.Logf), addr)
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	defer l.socket.Close()
	c := dial(t, addr.String())
	const queries = 2000
	for range queries {
		if _, err := c.Write(make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	n, buf, answers := 0, make([]byte, MaxQuery), 0
	err := control(l.conn, func(fd int) (err error) {
		answers, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		return err
	})
	if answers != 2*sendBuffer || err != nil {
		t.Errorf("room for %d octets of answers, %v", answers, err)
	}
	err = control(l.conn, func(fd int) error {
		for {
			if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
				return err
			}
			n++
		}
	})
	if n != queries || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d of %d were there; %v", n, queries, err)
	}
}

// TestWithdraw has a second socket in the group: it gets all packets once ours is withdrawn, though ours is still open, by the
// program of the group and by the kernel's hash.
func TestWithdraw(t *testing.T) {
	for _, company := range []company{alone, shared} {
		l, _ := stand(t)
		first := newListener(l.of, l.addr)
		if err := first.open(); err != nil {
			t.Fatal(err)
		}
		defer first.socket.Close()
		c := dial(t, l.addr.String())
		l.company = alone // with place 0
		if err := l.prefer(0); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(make([]byte, 60))
		newReader(l, false).receives(t, 1)
		l.company = company
		if err := l.withdraw(); err != nil {
			t.Fatal(err)
		}
		const packets = 20
		for range packets {
			_, _ = dial(t, l.addr.String()).Write(make([]byte, 60))
		}
		newReader(first, false).receives(t, packets)
		if r := newReader(l, false); r.receive(l.fd) != unix.EAGAIN {
			t.Errorf("company %d: %d packets came to a socket that was withdrawn", company, r.n)
		}
	}
}

// TestGather has a socket as a stock server opens it, of either family: ours is in its group and gets all packets.
func TestGather(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		options := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
			return control(conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		}}
		stock, err := options.ListenPacket(t.Context(), "udp", net.JoinHostPort(ip, "0"))
		if err != nil {
			if ip == "::1" {
				t.Skipf("a kernel without IPv6: %v", err)
			}
			t.Fatal(err)
		}
		defer stock.Close()
		l := newListener(New(t.Logf), stock.LocalAddr().(*net.UDPAddr).AddrPort())
		if err := l.open(); err != nil {
			t.Fatal(err)
		}
		defer l.socket.Close()
		if err := l.gather(1); err != nil || l.company != alone {
			t.Fatalf("%s: company %d, %v", ip, l.company, err)
		}
		const packets = 20
		for range packets {
			_, _ = dial(t, l.addr.String()).Write(make([]byte, 60))
		}
		newReader(l, false).receives(t, packets)
	}
}

// TestSandbox denies a call that the readers need: the socket must not be opened, as all packets would come to it.
func TestSandbox(t *testing.T) {
	for name, call := range map[string]uint32{"recvmmsg": unix.SYS_RECVMMSG, "sendmmsg": unix.SYS_SENDMMSG} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // never unlocked: the thread is not to be used again
			deny(t, call)
			addr := netip.MustParseAddrPort(wiretest.FreePort(t))
			l := newListener(New(t.Logf), addr)
			err := l.open()
			if err == nil {
				_ = l.socket.Close()
			}
			if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v", err)
			}
		})
	}
}

// deny makes a system call of this thread fail (Documentation/userspace-api/seccomp_filter.rst).
func deny(t *testing.T, call uint32) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		t.Fatal(err)
	}
}

// TestSpare has more queries wait than a reader takes with a few calls: it asks for another one, which answers what is there and waits
// again. A burst that is over sooner asks for none.
func TestSpare(t *testing.T) {
	addr := netip.MustParseAddrPort(wiretest.FreePort(t))
	l := newListener(New(t.Logf), addr)
	l.more = make(chan struct{}, 1)
	l.lease = newLease(l, func(*Lease) Backend { return &fakeBackend{store: store.New(8 << 20)} })
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	defer l.socket.Close()
	c := dial(t, addr.String())
	send := func(n int) {
		before, each := queued(t, addr), uint64(0)
		for i := range uint64(n) {
			if _, err := c.Write([]byte{1}); err != nil { // too short to be answered
				t.Fatal(err)
			}
			if i == 0 {
				arrived(t, addr, before+1)
				each = queued(t, addr) - before
			}
		}
		arrived(t, addr, before+uint64(n)*each)
	}
	first := newReader(l, false)
	reads := func(n, asked int) {
		t.Helper()
		if errno := first.receive(l.fd); errno != 0 || first.n != n || len(l.more) != asked {
			t.Errorf("%d of %d read, asked for help: %d, want %d, %v", first.n, n, len(l.more), asked, errno)
		}
	}
	full := func(batches int) {
		t.Helper()
		for range batches {
			reads(batch, 0)
		}
	}
	send((backlog-1)*batch + 1)
	full(backlog - 1)
	reads(1, 0)
	send((backlog - 1) * batch)
	full(backlog - 1)
	if errno := first.receive(l.fd); errno != unix.EAGAIN {
		t.Errorf("%d were left, %v", first.n, errno)
	}
	send((backlog + 2) * batch)
	full(backlog - 1)
	reads(batch, 1)
	l.readers.Go(newReader(l, true).run)
	for range 2 { // the second fits in when the spare has come back for the first
		l.more <- struct{}{}
	}
	if errno := first.receive(l.fd); errno != unix.EAGAIN {
		t.Errorf("%d were left, %v", first.n, errno)
	}
	close(l.closing)
	l.readers.Wait()
}

// queued is how much of its room the packets take that wait in the socket at addr.
func queued(t *testing.T, addr netip.AddrPort) uint64 {
	t.Helper()
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := fs.NetUDP()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sockets {
		if s.LocalPort == uint64(addr.Port()) {
			return s.RxQueue
		}
	}
	t.Fatal("no socket at ", addr)
	return 0
}

// arrived waits until that much is there.
func arrived(t *testing.T, addr netip.AddrPort, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); queued(t, addr) < want; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d arrived", queued(t, addr), want)
		}
	}
}

// TestZone has a client whose address needs a zone: the answer goes where the query came from.
func TestZone(t *testing.T) {
	for zone, want := range map[uint32]string{0: "[fe80::1]:53", 7: "[fe80::1%7]:53"} {
		r, from := new(reader), unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}, Scope_id: zone}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&from.Port))[:], 53)
		r.names[0] = from
		sender := r.sender(0)
		var p packet
		p.address(sender)
		sa := p.to.(*unix.SockaddrInet6)
		if sender.String() != want || sa.ZoneId != zone || sa.Addr != from.Addr || sa.Port != 53 {
			t.Errorf("zone %d: %s, %+v", zone, sender, sa)
		}
	}
}

// TestSendAllocates has a socket send to either family: nothing is allocated.
func TestSendAllocates(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		conn, err := socket.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		to, data := socket.LocalAddr().(*net.UDPAddr).AddrPort(), []byte("a packet")
		if n := testing.AllocsPerRun(100, func() { err = send(conn, data, to) }); err != nil || n >= 1 {
			t.Errorf("%s: %g allocations, %v", at, n, err)
		}
	}
}
