// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// maxReaders is how many goroutines read a socket at most. One reads some
// 150,000 queries a second; the others come in when it cannot keep up.
const maxReaders = 4

// receiveBuffer is the room, in octets of payload and the kernel's own for it, for packets that wait. It is for bursts and
// for moments without a CPU: some 2,500 queries, where net.core.rmem_default has room for 256.
const receiveBuffer = 1 << 20

// sendBuffer is the limit, in octets of packets and the kernel's own for them, of answers that have not left this node. The limit
// has to exceed what the kernel holds back for neighbours that do not answer: up to unres_qlen_bytes, 212,992, for each
// neighbour whose link-layer address is unknown, and up to gc_thresh3, 1,024, neighbours (net/ipv4/arp.c), 218 MB in all.
// The kernel doubles the value and takes half of INT_MAX at most (net/core/sock.c, SO_SNDBUFFORCE). No memory is set aside.
const sendBuffer = 1 << 29

// checkInterval is the least time between two looks at the group of sockets.
const checkInterval = time.Second

// listeners are the open ones. A reload hands them from one configuration to the next.
var listeners = struct {
	sync.Mutex
	at   map[netip.AddrPort]*listener
	next *servers // of the configuration that began last
}{at: map[netip.AddrPort]*listener{}}

// A listener is a socket of ours at one address, with the goroutines that read it.
type listener struct {
	addr  netip.AddrPort
	local *net.UDPAddr

	swap   sync.RWMutex // held by readers while they answer what they have read
	server *server      // changed with the listeners' lock and swap held

	// The listeners' lock guards these four.
	place   int           // of the socket in the group of sockets, 0 or 1
	alone   bool          // at the last look, only this process had sockets in the group
	checked time.Duration // when the group was last looked at
	warned  string        // the last warning about the group; empty: none since it was in order

	socket  *os.File
	conn    syscall.RawConn // of socket
	fd      uintptr         // of socket; for the readers alone, which end before the socket is closed
	more    chan struct{}   // wakes a further reader
	closing chan struct{}
	readers sync.WaitGroup
}

// listen makes s answer at addr, with the listener there or a new one.
func listen(addr netip.AddrPort, s *server) error {
	listeners.Lock()
	defer listeners.Unlock()
	l := listeners.at[addr]
	if l != nil {
		s.listener = l
		l.swap.Lock()
		last := l.server
		l.server = s
		l.swap.Unlock()
		close(last.replaced) // no reader will bring it a query any more
		return nil
	}
	l = &listener{addr: addr, local: net.UDPAddrFromAddrPort(addr), server: s, checked: clock(),
		more: make(chan struct{}), closing: make(chan struct{})}
	if err := l.open(); err != nil {
		return fmt.Errorf("opening a socket at %s: %w", addr, err)
	}
	s.listener = l
	listeners.at[addr] = l
	for i := range min(runtime.GOMAXPROCS(0), maxReaders) {
		l.readers.Go(func() { newReader(l, i > 0).run() })
	}
	if err := l.gather(1); err != nil { // behind the stock server's
		log.Warningf("Not all queries at %s will come to the packet cache: %v", addr, err)
	}
	return nil
}

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
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // without CAP_NET_ADMIN the kernel's default stays
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)    // the same
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

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL (include/uapi/linux/membarrier.h).
const membarrierGlobal = 1

// allowed returns an error if a sandbox denies the calls that the readers live
// by: once all packets come to this socket it is too late.
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

// gather makes all packets to the address come to this socket, if it is at place.
func (l *listener) gather(place int) error {
	n, err := members(l.addr)
	if err != nil {
		return err
	}
	l.place, l.alone = place, n == 2
	return l.prefer(place)
}

// prefer makes the group give all packets to one place, or to each its share
// if it is not known who is where.
func (l *listener) prefer(place int) error {
	if !l.alone {
		place = nowhere
	}
	return l.control(func(fd int) error { return attachPlace(fd, place) })
}

func (l *listener) control(f func(fd int) error) error {
	var err error
	return errors.Join(l.conn.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}

// strayed is told of a query that came to the stock server's socket, although
// ours is open: another process is in the group, or was and has changed the
// order. It looks again, and if there are two sockets tries the other place. No
// query waits for the lock: whoever holds it looks at the group as well, or the
// next query does.
func strayed(server string, w dns.ResponseWriter) {
	local, ok := w.LocalAddr().(*net.UDPAddr)
	if !ok {
		return
	}
	if !listeners.TryLock() {
		return
	}
	defer listeners.Unlock()
	addr := local.AddrPort()
	l := listeners.at[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())]
	if l == nil {
		return
	}
	now := clock()
	if now-l.checked < checkInterval {
		return
	}
	l.checked = now
	if err := l.gather(1 - l.place); err == nil {
		l.warned = ""
	} else if err.Error() != l.warned { // once for a fault that lasts
		l.warned = err.Error()
		log.Warningf("Not all queries at %s come to the packet cache: %v", server, err)
	}
}

// release returns whether s was the last to answer, so that the listener is to
// be closed. If the next configuration is about to answer here, it waits for
// that. Otherwise, what comes from now on goes to the stock server's socket.
func (l *listener) release(ctx context.Context, s *server, of *servers) (last bool) {
	listeners.Lock()
	next := listeners.next
	expected := next != nil && next != of && slices.Contains(next.expected, l.addr)
	listeners.Unlock()
	if expected {
		select {
		case <-s.replaced:
		case <-ctx.Done():
		}
	}
	listeners.Lock()
	defer listeners.Unlock()
	if l.server != s {
		return false
	}
	delete(listeners.at, l.addr)
	n, err := members(l.addr)
	l.alone = l.alone && err == nil && n == 2
	if err := errors.Join(l.prefer(1-l.place), l.withdraw()); err != nil {
		log.Warningf("Leaving %s, some queries may not be answered: %v", l.addr, err)
	}
	close(l.closing)
	_ = l.socket.SetReadDeadline(time.Now()) // wakes who waits
	l.readers.Wait()                         // each reader answers at most maxWaiting packets more, and waits for nobody
	return true
}

// withdraw makes the kernel give no packet to the socket any more, and returns when every packet for the socket is in its queue.
//
// Closing the socket does not suffice. The kernel takes the socket out of the group before it takes the socket out of the table
// of addresses (net/ipv4/udp.c, udp_lib_unhash). A look-up in between finds a socket without a group and gives it the packet
// (udp4_lib_lookup2), which the close then drops. A connected socket is not found for other peers (compute_score) and gets no
// packet of its group by the hash (net/core/sock_reuseport.c); its peer is its own address, which nobody else sends from.
// The kernel delivers packets within RCU read-side sections. MEMBARRIER_CMD_GLOBAL waits for those that have begun
// (kernel/sched/membarrier.c: synchronize_rcu).
func (l *listener) withdraw() error {
	sa, _, err := sockaddr(l.local)
	if err != nil {
		return err
	}
	if err := l.control(func(fd int) error { return os.NewSyscallError("connect", unix.Connect(fd, sa)) }); err != nil {
		return err
	}
	// A kernel or a sandbox without the call leaves the packets that are on their way at this moment, which are few.
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	return nil
}

// close closes the socket of a listener that was released.
func (l *listener) close() { _ = l.socket.Close() }

// send sends one packet, and does not wait for room.
func (l *listener) send(data []byte, to *net.UDPAddr) error {
	sa, _, err := sockaddr(to)
	if err != nil {
		return err
	}
	return l.control(func(fd int) error {
		return os.NewSyscallError("sendto", unix.Sendto(fd, data, unix.MSG_DONTWAIT, sa))
	})
}

// sockaddr returns a as the kernel takes it, and its family. The zone is a number, as remote has it, or a name.
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
