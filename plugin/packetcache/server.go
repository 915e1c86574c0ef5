// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coredns/coredns/core/dnsserver"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxInFlight is how many queries of a server are with the plugins at most,
	// and maxUnknown how many of questions that have no answer in the store: a
	// flood of new names, which wait for an upstream, is not to keep those that
	// are in use from being asked for again.
	maxInFlight, maxUnknown = 16384, 12288
	// closePatience is how long the end of a server waits for those; as that of
	// CoreDNS's own server does.
	closePatience = 5 * time.Second
)

// servers are those of one configuration.
type servers struct {
	options
	mu    sync.Mutex
	all   []*server
	inner map[*dnsserver.Server]bool // those that begin once more, with a pipe

	expected []netip.AddrPort // where they will begin; guarded by the listeners' lock
}

func newServers(o options) *servers {
	return &servers{options: o, inner: map[*dnsserver.Server]bool{}}
}

// begin is called by a server that is about to read its UDP socket. It opens
// another socket of ours at that address, which takes the queries from then on.
// Should that fail, the server goes on as without the plugin.
func (ss *servers) begin(s *dnsserver.Server) dns.DecorateWriter {
	ss.mu.Lock()
	inner := ss.inner[s]
	ss.inner[s] = true
	ss.mu.Unlock()
	if inner {
		return nil
	}
	addr, err := netip.ParseAddrPort(strings.TrimPrefix(s.Addr, "dns://"))
	if err == nil && addr.Addr().IsUnspecified() {
		err = fmt.Errorf("it needs an address: add a bind line to the server block")
	}
	if err == nil {
		err = ss.serve(s, addr)
	}
	if err != nil {
		log.Warningf("Not used at %s: %v", s.Addr, err)
	}
	return nil
}

// serve begins to answer at addr for s.
func (ss *servers) serve(s *dnsserver.Server, addr netip.AddrPort) error {
	srv := newServer(s, ss.options)
	go func() {
		defer close(srv.pipe.ended)
		_ = s.ServePacket(srv.pipe) // calls begin once more, and ends with the pipe
	}()
	// ServePacket notes what it serves, for Stop: that of our caller has to be the later one.
	<-srv.pipe.reading
	if err := listen(addr, srv); err != nil {
		_ = srv.pipe.Close()
		return err
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.all = append(ss.all, srv)
	return nil
}

// close ends the servers, when those of the next configuration have begun or
// the process ends. Queries that are with the plugins are waited for: what these
// need is taken from them next.
func (ss *servers) close() error {
	ss.mu.Lock()
	all := ss.all
	ss.all = nil
	ss.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	for _, s := range all {
		last := s.listener.release(ctx, s, ss)
		s.drain(ctx)
		if last {
			s.listener.close()
		}
	}
	return nil
}

// drain waits until the queries that came to s are answered.
func (s *server) drain(ctx context.Context) {
	_ = s.pipe.Close()
	for _, end := range []<-chan struct{}{s.pipe.ended, s.stop()} {
		select {
		case <-end:
		case <-ctx.Done():
			log.Warningf("Queries at %s unanswered after %s: ending without them", s.dns.Addr, closePatience)
			return
		}
	}
}

// expect notes, before the servers of this configuration begin, where they will:
// those that they take over from must not close the sockets.
func (ss *servers) expect(addr netip.AddrPort) {
	listeners.Lock()
	defer listeners.Unlock()
	ss.expected = append(ss.expected, addr)
	listeners.next = ss
}

// failed forgets a configuration that did not come to serve.
func failed() error {
	listeners.Lock()
	defer listeners.Unlock()
	listeners.next = nil
	return nil
}

// A server is what answers at one address in one configuration.
type server struct {
	dns      *dnsserver.Server
	listener *listener
	pipe     *pipe
	store    *store
	ttl      time.Duration
	ctx      context.Context // as the stock server makes it

	hits, misses, dropped prometheus.Counter

	mu       sync.Mutex
	inFlight int
	stopping bool
	stopped  chan struct{}
	replaced chan struct{} // closed when another server answers in its place
}

func newServer(s *dnsserver.Server, o options) *server {
	ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
	srv := &server{
		dns: s, store: newStore(o.Size), ttl: o.TTL,
		ctx:  context.WithValue(ctx, dnsserver.LoopKey{}, 0),
		hits: hitsTotal.WithLabelValues(s.Addr), misses: missesTotal.WithLabelValues(s.Addr), dropped: droppedTotal.WithLabelValues(s.Addr),
		stopped: make(chan struct{}), replaced: make(chan struct{}),
	}
	srv.pipe = newPipe(srv)
	return srv
}

// enter counts a query in, and returns false if it is one too many; known says
// that it was answered before.
func (s *server) enter(known bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight >= maxInFlight || !known && s.inFlight >= maxUnknown {
		return false
	}
	s.inFlight++
	return true
}

// end counts a query out.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if s.stopping && s.inFlight == 0 {
		s.finish()
	}
}

// stop returns a channel that is closed when no query is in flight.
func (s *server) stop() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	if s.inFlight == 0 {
		s.finish()
	}
	return s.stopped
}

func (s *server) finish() {
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
}
