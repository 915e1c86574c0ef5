// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// A server is the structure of that name of the program.
type server struct {
	answers    uint32
	generation uint32
}

// A Server is a store's answers at one address. In a reload there are two for an address, and the later one counts.
type Server struct {
	p          *Program
	addr       netip.Addr
	index      uint16
	generation uint32
}

// Serve makes the program answer queries to addr from now on, with the answers that Put puts, in place of an earlier Server's.
func (p *Program) Serve(addr netip.Addr) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return nil, errors.New("the BPF program has no room for a further address")
	}
	index := p.free[0]
	v := &p.servers[index]
	s := &Server{p, addr, index, atomic.AddUint32(&v.generation, 1)}
	atomic.StoreUint32(&v.answers, 1)
	if err := p.objects.Addresses.Put(wordsOf(addr), uint32(index)); err != nil {
		return nil, fmt.Errorf("telling the BPF program of %s: %w", addr, err)
	}
	p.free, p.serving[addr] = p.free[1:], s
	return s, nil
}

// addressOf returns the address of a server.
func (p *Program) addressOf(index uint16) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, s := range p.serving {
		if s.index == index {
			return addr
		}
	}
	return netip.Addr{}
}

// Stop makes the program pass on the queries that s would answer. Stop takes effect at once.
func (s *Server) Stop() { atomic.StoreUint32(&s.p.servers[s.index].answers, 0) }

// Close stops s and gives its place back.
func (s *Server) Close() error {
	s.Stop()
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, s.index) // the place that has been free for longest is the next
	if p.serving[s.addr] != s {
		return nil
	}
	delete(p.serving, s.addr)
	if err := p.objects.Addresses.Delete(wordsOf(s.addr)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("making the BPF program forget %s: %w", s.addr, err)
	}
	return nil
}

// Put gives the program an answer until the answer expires. Now is the present time of the clock that the entry's times are of.
func (s *Server) Put(e *store.Entry, now time.Duration) {
	s.p.table.put(e, s.index, s.generation, time.Duration(clock())-now)
}
