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
	p     *Program
	addr  netip.Addr
	index uint16 // in Program.answers
}

// Serve makes the program answer queries to port 53 of addr from now on, with the answers that Put puts. It is called once for an
// address.
func (p *Program) Serve(addr netip.Addr) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.serving) == len(p.answers) {
		return nil, errors.New("the BPF program has no room for a further address")
	}
	s := &Server{p, addr, uint16(len(p.serving))}
	if err := p.objects.Addresses.Put(wordsOf(addr), uint32(s.index)); err != nil {
		return nil, fmt.Errorf("telling the BPF program of %s: %w", addr, err)
	}
	atomic.StoreUint64(&p.answers[s.index], 1)
	p.serving = append(p.serving, s)
	return s, nil
}

// addressOf returns the address of a server.
func (p *Program) addressOf(index uint16) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving[index].addr
}

// Stop makes the program pass on the queries that s would answer. Stop takes effect at once, and for good.
func (s *Server) Stop() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if !s.p.closed {
		atomic.StoreUint64(&s.p.answers[s.index], 0)
	}
}

// Put gives the program an answer until the answer expires. Now is the clock that the entry's times are of. The program's clock is
// read first: if this process stands still in between, the answer expires too early, and not too late.
func (s *Server) Put(e *store.Entry, now func() time.Duration) {
	monotonic := time.Duration(clock())
	s.p.table.put(e, s.index, monotonic-now())
}
