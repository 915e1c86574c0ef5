// SPDX-License-Identifier: Apache-2.0

// Package udp reads queries from sockets beside those of a stock server, answers from a store, and gives all other queries to a
// Backend. It knows nothing of CoreDNS.
package udp

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// maxReaders is the largest number of goroutines that read a socket. One reads some 150,000 queries a second; the others read
// when the first cannot keep up.
const maxReaders = 4

// checkInterval is the least time between two looks at the group of sockets.
const checkInterval = time.Second

// A Backend answers the queries that its store does not. The readers call its methods, several at a time. A method must not
// wait, and must not keep its arguments.
type Backend interface {
	// Store returns the store that the readers answer from.
	Store() *store.Store
	// Miss takes a query that Store has no fresh answer to. It returns the length of the answer that it wrote to out, which has
	// wire.MaxAnswer octets, and the entry that the answer comes from, if any; 0 if there is no answer now.
	Miss(q *Query, out []byte) (n int, from *store.Entry)
	// Replaced is told that the queries go to a later lease's backend from now on.
	Replaced()
	// Interfaces reports whether the backend wants to know where queries come from. It is asked once, when the backend begins.
	Interfaces() bool
	// Came is told of a query of the usual form: its sender, and the index of the interface by which it came in.
	Came(sender netip.Addr, ifindex uint32)
	// Sent is told of the answers that went out together: the entry of each, nil for an answer from no entry, the number of
	// answers that the kernel did not take, and the time that a batch took.
	Sent(from []*store.Entry, unsent int, took time.Duration)
}

// Listeners are the open listeners of a process.
type Listeners struct {
	warnf func(format string, args ...any)

	mu sync.Mutex
	at map[netip.AddrPort]*listener
}

// New returns Listeners that report faults to warnf.
func New(warnf func(format string, args ...any)) *Listeners {
	return &Listeners{warnf: warnf, at: map[netip.AddrPort]*listener{}}
}

// A listener is a socket at one address, with the goroutines that read it.
type listener struct {
	of    *Listeners
	addr  netip.AddrPort
	local *net.UDPAddr

	swap  sync.RWMutex // readers hold it while they answer a batch
	lease *Lease       // the current one; written with of.mu and swap held

	// of.mu guards these four.
	place   int           // where this socket is in its group if company is alone, 0 or 1
	company company       // at the last look
	checked time.Duration // the time of the last look
	warned  string        // the last warning about the group; empty: none since the group was in order

	socket  *net.UDPConn
	conn    syscall.RawConn // of socket
	fd      uintptr         // of socket; only for the readers, which end before the socket is closed
	more    chan struct{}   // wakes a further reader
	closing chan struct{}
	readers sync.WaitGroup
}

// A Lease is the part of a listener's life in which one Backend answers there.
type Lease struct {
	l        *listener
	backend  Backend
	state    state         // guarded by l.of.mu
	replaced chan struct{} // closed with the change to the state replaced
}

// A state is a phase of a Lease's life. A lease goes from current to handedOver, or to withdrawn and then to closed.
type state uint8

const (
	current    state = iota // readers bring queries to the backend
	handedOver              // readers bring queries to the backend of a later lease; this one can still send
	withdrawn               // nobody reads; the socket is open for answers to queries that are on their way
	closed                  // the socket is closed
)

// Listen makes a Backend answer at addr. It takes the socket over from the current lease there, or opens a socket. It calls
// newBackend once it has the socket, and returns without a call if the socket cannot be opened.
func (ls *Listeners) Listen(addr netip.AddrPort, newBackend func(*Lease) Backend) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.at[addr]; l != nil {
		next := newLease(l, newBackend)
		l.lease.backend.Replaced()
		l.swap.Lock()
		last := l.lease
		l.lease = next
		l.swap.Unlock()
		ls.tellInterfaces(l)
		last.state = handedOver
		close(last.replaced)
		return nil
	}
	l := newListener(ls, addr)
	if err := l.open(); err != nil {
		return err
	}
	l.lease = newLease(l, newBackend)
	ls.tellInterfaces(l)
	ls.at[addr] = l
	for i := range min(runtime.GOMAXPROCS(0), maxReaders) {
		l.readers.Go(func() { newReader(l, i > 0).run() })
	}
	if err := l.gather(1); err != nil { // behind the stock server's socket
		ls.warnf("Not all queries at %s will come to the packet cache: %v", addr, err)
	}
	return nil
}

// tellInterfaces makes the socket tell interfaces if the backend wants to know them.
func (ls *Listeners) tellInterfaces(l *listener) {
	if err := tellInterfaces(l.conn, l.addr.Addr().Is6(), l.lease.backend.Interfaces()); err != nil {
		ls.warnf("At %s it is not known where queries come from: %v", l.addr, err)
	}
}

func newLease(l *listener, newBackend func(*Lease) Backend) *Lease {
	lease := &Lease{l: l, replaced: make(chan struct{})}
	lease.backend = newBackend(lease)
	return lease
}

func newListener(ls *Listeners, addr netip.AddrPort) *listener {
	return &listener{of: ls, addr: addr, local: net.UDPAddrFromAddrPort(addr), checked: Clock(), more: make(chan struct{}),
		closing: make(chan struct{})}
}

// Strayed is told of a query that came to the stock server's socket at addr. With an open listener that
// means that the group of sockets has changed: another process came or went. Strayed checks the group and tries the other index.
// If the lock is taken Strayed returns; the next such query tries again.
func (ls *Listeners) Strayed(addr netip.AddrPort) {
	if !ls.mu.TryLock() {
		return
	}
	defer ls.mu.Unlock()
	l, now := ls.at[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())], Clock()
	if l == nil || now-l.checked < checkInterval {
		return
	}
	l.checked = now
	if err := l.gather(1 - l.place); err == nil {
		l.warned = ""
	} else if err.Error() != l.warned { // once for a fault that lasts
		l.warned = err.Error()
		ls.warnf("Not all queries at %s come to the packet cache: %v", l.addr, err)
	}
}

// Addr returns the address of the socket.
func (le *Lease) Addr() *net.UDPAddr { return le.l.local }

// Await waits until another lease has the socket, or ctx is done.
func (le *Lease) Await(ctx context.Context) {
	select {
	case <-le.replaced:
	case <-ctx.Done():
	}
}

// Withdraw makes the readers bring no more queries to the backend. If no other lease has the socket, the queries go to the stock
// server's socket from now on. Queries that the backend has taken can be answered until Close.
func (le *Lease) Withdraw() {
	l := le.l
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if le.state != current {
		return
	}
	le.state = withdrawn
	delete(l.of.at, l.addr)
	if err := l.withdraw(); err != nil {
		l.of.warnf("Leaving %s, some queries may not be answered: %v", l.addr, err)
	}
	close(l.closing)
	_ = l.socket.SetReadDeadline(time.Now()) // wakes the reader that waits
	l.readers.Wait()                         // each reader answers at most maxWaiting packets more, and waits for nobody
}

// Close closes the socket if the lease was withdrawn. It does nothing if another lease has the socket.
func (le *Lease) Close() {
	le.l.of.mu.Lock()
	defer le.l.of.mu.Unlock()
	if le.state == withdrawn {
		le.state = closed
		_ = le.l.socket.Close()
	}
}

// Send sends one packet to a Query's Sender. It does not wait for room.
func (le *Lease) Send(data []byte, to netip.AddrPort) error { return send(le.l.conn, data, to) }

var start = time.Now()

// Clock returns a monotonic time, the clock of all entries.
func Clock() time.Duration { return time.Since(start) }
