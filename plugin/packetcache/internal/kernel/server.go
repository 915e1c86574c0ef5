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

// A server is the structure of that name of the program.
type server struct {
	answers    uint32
	_          uint32
	generation uint64
}

// A Server is an address at which the program answers. Its answers are those of one store at a time.
type Server struct {
	p     *Program
	addr  netip.Addr
	index uint16
	s     *server
}

// Serve makes the program know addr. It answers nothing there before Start.
func (p *Program) Serve(addr netip.Addr) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return nil, errors.New("the BPF program has no room for a further address")
	}
	index := p.free[0]
	key := wordsOf(addr)
	if err := p.objects.Addresses.Put(&key, uint32(index)); err != nil {
		return nil, fmt.Errorf("telling the BPF program of %s: %w", addr, err)
	}
	p.free = p.free[1:]
	return &Server{p, addr, index, &p.servers[index]}, nil
}

// Start makes the program answer from now on, with what Put puts from now on.
func (s *Server) Start() {
	atomic.AddUint64(&s.s.generation, 1)
	atomic.StoreUint32(&s.s.answers, 1)
}

// Stop makes the program pass all queries on. It takes effect at once.
func (s *Server) Stop() { atomic.StoreUint32(&s.s.answers, 0) }

// Close makes the program forget the address.
func (s *Server) Close() error {
	s.Stop()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	key := wordsOf(s.addr)
	err := s.p.objects.Addresses.Delete(&key)
	s.p.free = append(s.p.free, s.index)
	return err
}

// Put gives the program an answer until it expires. since is the moment from which the entry's times count. Put returns the
// answer that was in the place before, and how often the program gave that since it was last harvested.
func (s *Server) Put(e *store.Entry, since time.Duration) (old *store.Entry, hits uint64) {
	_, old, hits = s.p.table.put(e, s.index, atomic.LoadUint64(&s.s.generation), since)
	return old, hits
}
