// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// A Server is a store's answers at one address, port 53.
type Server struct {
	p      *Program
	addr   netip.Addr
	number uint16 // of no other server, also of none that has stopped lately
	terms  Terms
}

// Terms say whom the program answers, and where.
type Terms struct {
	Admit time.Duration // how long a client is answered by the program after a query of its own came to the socket
	Force bool          // attach to interfaces that have programs of others, too
}

// leaseTime is how long the program answers after the process has last renewed the lease, once a round. A process that stands still, as by
// SIGSTOP, cannot take an answer back when another instance has the address.
const leaseTime = 2 * time.Second

// Serve makes the program answer queries to port 53 of addr from now on, with the answers that Put puts. A later call for the same
// address replaces the Server.
func (p *Program) Serve(addr netip.Addr, terms Terms) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.serving) == len(p.leases) {
		return nil, errors.New("the BPF program has no room for a further address")
	}
	s := &Server{p, addr, p.last + 1, terms}
	for *s.lease() > 0 {
		s.number++
	}
	if err := p.objects.Addresses.Put(wordsOf(addr), uint32(s.number)); err != nil {
		return nil, fmt.Errorf("telling the BPF program of %s: %w", addr, err)
	}
	atomic.StoreUint64(s.lease(), clock()+uint64(leaseTime))
	p.serving[s.number], p.last = s, s.number
	return s, nil
}

// lease returns the lease of s, which is its own until s stops.
func (s *Server) lease() *uint64 { return &s.p.leases[int(s.number)%len(s.p.leases)] }

// renew has the program answer for leaseTime from now on.
func (p *Program) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := clock() + uint64(leaseTime)
	for _, s := range p.serving {
		atomic.StoreUint64(s.lease(), until)
	}
}

// serves reports whether the server with a number has not stopped.
func (p *Program) serves(number uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving[number] != nil
}

// Stop makes the program pass on the queries that s would answer. Stop takes effect at once, and for good.
func (s *Server) Stop() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.serving[s.number] != s {
		return
	}
	atomic.StoreUint64(s.lease(), 0)
	delete(s.p.serving, s.number)
	key, number := wordsOf(s.addr), uint32(0)
	if err := s.p.objects.Addresses.Lookup(key, &number); err != nil || number != uint32(s.number) {
		return
	}
	for _, other := range s.p.serving { // s may have begun late, when its successor served already
		if other.addr == s.addr {
			_ = s.p.objects.Addresses.Put(key, uint32(other.number))
			return
		}
	}
	_ = s.p.objects.Addresses.Delete(key) // the lease has ended; this makes room
}

// Put gives the program an answer until the answer expires. Now is the clock that the entry's times are of. The program's clock is
// read first: if this process stands still in between, the answer expires too early, and not too late.
func (s *Server) Put(e *store.Entry, now func() time.Duration) {
	monotonic := time.Duration(clock())
	s.p.table.put(e, s.number, monotonic-now())
}
