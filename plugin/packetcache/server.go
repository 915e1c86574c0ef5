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

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// closePatience is how long the end of a server waits for the queries that are with the plugins; as that of CoreDNS's own
// server does.
const closePatience = 5 * time.Second

// maxPlaces is how many queries of the process, at all addresses together, are with the plugins at most. The reserve is a
// quarter more (package shares). Two upstreams may be silent at the same time: the template's fairshare lets at most 1,250
// questions wait for each. A query takes some 30 kB while it waits; while the plugins work on it, the readers have less CPU.
const maxPlaces = 2048

// places are those of all servers of the process. During a reload the servers of both configurations share them.
var places = shares.New(maxPlaces, tellBusiest)

// tellBusiest logs the client that is refused most. It returns at once, since a reader calls it and must not wait for the log.
func tellBusiest(client netip.Addr, refused int) {
	go log.Warningf("Refusing queries, most of them from %s (%d since the last line like this): too many wait for an answer", client, refused)
}

// servers are those of one configuration.
type servers struct {
	options
	mu     sync.Mutex
	all    []*server
	closed bool

	expected []netip.AddrPort // where they will begin; guarded by the listeners' lock
}

func newServers(o options) *servers {
	return &servers{options: o}
}

// begin is called by a server that is about to read its UDP socket. It opens
// another socket of ours at that address, which takes the queries from then on.
// Should that fail, the server goes on as without the plugin.
func (ss *servers) begin(s *dnsserver.Server) dns.DecorateWriter {
	addr, err := netip.ParseAddrPort(strings.TrimPrefix(s.Addr, "dns://"))
	if err == nil && addr.Addr().IsUnspecified() {
		err = fmt.Errorf("it needs an address: add a bind line to the server block")
	}
	if err == nil && len(s.TsigSecret) > 0 {
		err = fmt.Errorf("a server block there has secrets for TSIG")
	}
	if err == nil {
		err = ss.serve(s, addr)
	}
	if err != nil {
		log.Warningf("Not used at %s: %v", s.Addr, err)
	}
	return nil
}

// serve begins to answer at addr for s. After close it does nothing: CoreDNS starts each server's goroutine and does not wait for
// it, so a reload that follows a start at once may be over before. The server would take the address from the next configuration's.
func (ss *servers) serve(s *dnsserver.Server, addr netip.AddrPort) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil
	}
	srv := newServer(s, ss.options)
	if err := listen(addr, srv); err != nil {
		return err
	}
	ss.all = append(ss.all, srv)
	return nil
}

// close ends the servers, when those of the next configuration have begun or
// the process ends. Queries that are with the plugins are waited for: what these
// need is taken from them next.
func (ss *servers) close() error {
	ss.mu.Lock()
	all := ss.all
	ss.all, ss.closed = nil, true
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

// drain waits until the queries that came to s are answered. No reader brings any more.
func (s *server) drain(ctx context.Context) {
	end := make(chan struct{})
	go func() {
		s.queries.Wait()
		close(end)
	}()
	select {
	case <-end:
	case <-ctx.Done():
		log.Warningf("Queries at %s unanswered after %s: ending without them", s.dns.Addr, closePatience)
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
	store    *store
	ttl      time.Duration
	ctx      context.Context // as the stock server makes it

	hits, misses, unsent prometheus.Counter
	refused              map[shares.Verdict]prometheus.Counter

	places   *shares.Places
	queries  sync.WaitGroup // those that are with the plugins
	replaced chan struct{}  // closed when another server answers in its place
}

func newServer(s *dnsserver.Server, o options) *server {
	ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
	srv := &server{
		dns: s, store: newStore(o.Size), ttl: o.TTL, places: places, replaced: make(chan struct{}),
		ctx:  context.WithValue(ctx, dnsserver.LoopKey{}, 0),
		hits: hitsTotal.WithLabelValues(s.Addr), misses: missesTotal.WithLabelValues(s.Addr), unsent: unsentTotal.WithLabelValues(s.Addr),
		refused: map[shares.Verdict]prometheus.Counter{},
	}
	for _, v := range []shares.Verdict{shares.OverShare, shares.Full} {
		srv.refused[v] = refusedTotal.WithLabelValues(s.Addr, v.String())
	}
	return srv
}
