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
	// maxInFlight is how many queries of a server are with the plugins at most.
	maxInFlight = 16384
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
	l, err := listen(addr)
	if err != nil {
		return err
	}
	srv := newServer(s, l, ss.options)
	go func() {
		defer close(srv.pipe.ended)
		_ = s.ServePacket(srv.pipe) // calls begin once more, and ends with the pipe
	}()
	// ServePacket notes what it serves, for Stop: that of our caller has to be the later one.
	<-srv.pipe.reading
	l.use(srv)
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
		s.listener.release(s)
		_ = s.pipe.Close()
		for _, end := range []<-chan struct{}{s.pipe.ended, s.stop()} {
			select {
			case <-end:
			case <-ctx.Done():
				log.Warningf("Queries at %s unanswered after %s: ending without them", s.dns.Addr, closePatience)
			}
		}
		s.listener.end(s)
	}
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
}

func newServer(s *dnsserver.Server, l *listener, o options) *server {
	ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
	return &server{
		dns: s, listener: l, pipe: newPipe(l), store: newStore(o.Size), ttl: o.TTL,
		ctx:  context.WithValue(ctx, dnsserver.LoopKey{}, 0),
		hits: hitsTotal.WithLabelValues(s.Addr), misses: missesTotal.WithLabelValues(s.Addr), dropped: droppedTotal.WithLabelValues(s.Addr),
		stopped: make(chan struct{}),
	}
}

// enter counts a query in, and returns false if it is one too many. A reader may
// bring one more after stop, and that is served too.
func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight >= maxInFlight {
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
