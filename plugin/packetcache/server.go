// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/internal/shares"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/kernel"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// maxPlaces is the largest number of queries of the process, at all addresses together, that are with the plugins. The reserve
// is a quarter more (package shares). 2,048 places and 512 of the reserve hold the questions of two silent upstreams: the
// template's fairshare lets 1,250 wait for each. A query takes some 30 kB while it waits.
const maxPlaces = 2048

// places are shared by all servers of the process, also by those of two configurations during a reload.
var places = shares.New(maxPlaces, tellBusiest)

// asking are the workers of the process.
var asking = workers{work: make(chan func())}

// listeners hold the open sockets of the process. A reload hands them from one configuration to the next.
var listeners = udp.New(log.Warningf)

// tellBusiest logs the client that is refused most. It returns at once, since a reader calls it and must not wait for the log.
func tellBusiest(client netip.Addr, refused int) {
	go log.Warningf("Refusing queries, most of them from %s (%d since the last line like this): too many wait for an answer", client, refused)
}

// servers are the servers of one configuration. Its directives with options have the same ones, since server blocks share
// addresses.
type servers struct {
	options
	where   string // file and line of the last directive with options; empty: none so far
	mu      sync.Mutex
	all     []*server
	phase   phase
	load    sync.Once
	program *kernel.Program // that this configuration uses; nil: it is not wanted, not loaded yet, or cannot be
}

// A phase is a part of the life of a configuration's servers.
type phase uint8

const (
	open     phase = iota // servers may start
	replaced              // the configuration has ended: a server that starts late stays out of the way
)

// expected has the *servers of the configuration that serves an address (netip.AddrPort), or is being started and will serve it.
var expected sync.Map

// expect records addresses that this configuration will serve. The configuration before it then hands its sockets over instead
// of closing them.
func (ss *servers) expect(addrs []netip.AddrPort) {
	for _, addr := range addrs {
		expected.Store(addr, ss)
	}
}

// forgetExpected forgets the addresses of a configuration that could not be started. A configuration without addresses here closes
// its sockets.
func forgetExpected() error {
	expected.Clear()
	return nil
}

// start runs just before a stock server reads its UDP socket (fact 1 of stock.go). It opens a socket of ours at the same address.
// The new socket gets the queries from then on. On an error the stock server carries on alone. start returns nil: the stock
// server's writer stays as it is.
func (ss *servers) start(s *dnsserver.Server) dns.DecorateWriter {
	addr, err := addrOf(s)
	switch {
	case err != nil:
	case addr.Addr().IsUnspecified():
		err = errors.New("it needs an address: add a bind line to the server block")
	case len(s.TsigSecret) > 0:
		err = errors.New("a server block there has secrets for TSIG")
	default:
		err = ss.listen(s, addr)
	}
	if err != nil {
		log.Warningf("Not used at %s: %v", s.Addr, err)
	}
	return nil
}

// listen answers at addr for s. It does nothing once the configuration is replaced. A quick reload may end this configuration
// before its server's goroutine runs (fact 4 of stock.go). The late server must not take the socket from the next configuration.
func (ss *servers) listen(s *dnsserver.Server, addr netip.AddrPort) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.phase == replaced {
		return nil
	}
	if ss.Kernel != kernelOff {
		ss.load.Do(func() { go ss.loadKernel() }) // not before: a configuration that is refused gets no further than its startup
	}
	return listeners.Listen(addr, func(l *udp.Lease) udp.Backend {
		srv := newServer(s, ss.options, l)
		ss.all = append(ss.all, srv)
		if ss.program != nil {
			srv.answerInKernel(ss.program)
		}
		return srv
	})
}

// close ends the servers, when the next configuration has started or the process ends. It waits for queries that are with the
// plugins, since caddy ends the plugins next.
func (ss *servers) close() error {
	ss.mu.Lock()
	all, used := ss.all, ss.program
	ss.all, ss.program, ss.phase = nil, nil, replaced
	ss.mu.Unlock()
	if used != nil { // before the servers end
		for _, s := range all {
			s.Replaced()
		}
		program.leave()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	for _, s := range all {
		if next, ok := expected.Load(s.lease.Addr().AddrPort()); ok && next != ss { // a later configuration is going to serve there
			s.lease.Await(ctx)
		}
		s.lease.Withdraw()
		s.drain(ctx)
		s.lease.Close()
	}
	return nil
}

// A server answers at one address in one configuration. It is the backend of the readers there.
type server struct {
	dns   *dnsserver.Server
	lease *udp.Lease
	store *store.Store
	ttl   time.Duration
	ctx   context.Context // of every query

	kernelTerms kernel.Terms                  // zero: the BPF program is not wanted
	kernel      atomic.Pointer[kernel.Server] // nil: the BPF program does not answer at this address

	hits, kernelHits, misses, unsent prometheus.Counter
	refused                          map[shares.Verdict]prometheus.Counter

	places  *shares.Places
	queries sync.WaitGroup // the misses that are with the plugins
}

func newServer(s *dnsserver.Server, o options, l *udp.Lease) *server {
	srv := &server{
		dns: s, lease: l, store: store.New(o.Size), ttl: o.TTL, ctx: contextOf(s), places: places,
		hits: hitsTotal.WithLabelValues(s.Addr), kernelHits: kernelHitsTotal.WithLabelValues(s.Addr), misses: missesTotal.WithLabelValues(s.Addr), unsent: unsentTotal.WithLabelValues(s.Addr),
		refused: map[shares.Verdict]prometheus.Counter{},
	}
	if o.Kernel != kernelOff {
		srv.kernelTerms = kernel.Terms{Admit: o.Admit, Force: o.Kernel == kernelForce}
	}
	for _, v := range []shares.Verdict{shares.OverShare, shares.Full} {
		srv.refused[v] = refusedTotal.WithLabelValues(s.Addr, v.String())
	}
	return srv
}

// Store implements udp.Backend.
func (s *server) Store() *store.Store { return s.store }

// Miss implements udp.Backend. It hands a query to the plugins if its client gets a place, and answers here what the stock
// server rejects by the header alone.
func (s *server) Miss(q *udp.Query, out []byte) (int, *store.Entry) {
	if q.Key == nil {
		switch screen(q.Packet) {
		case dns.MsgReject:
			s.misses.Inc()
			count(q, nil)
			return wire.Reject(out, q.Packet, dns.RcodeFormatError), nil
		case dns.MsgRejectNotImplemented:
			s.misses.Inc()
			count(q, nil)
			return wire.Reject(out, q.Packet, dns.RcodeNotImplemented), nil
		case dns.MsgIgnore:
			return 0, nil
		}
	}
	client := shares.Client(q.Sender.Addr())
	if v := s.places.Enter(client, q.Old != nil); v != shares.Admitted {
		return s.refuse(v, q, out)
	}
	s.misses.Inc()
	addrs := capture.Writer{Local: s.lease.Addr(), Remote: net.UDPAddrFromAddrPort(q.Sender)}
	m := &miss{Writer: addrs, server: s, sender: q.Sender, mark: busiest.Mark{Client: client}, query: bytes.Clone(q.Packet), key: bytes.Clone(q.Key)}
	s.queries.Add(1)
	asking.run(m.ask)
	return 0, nil
}

// refuse answers a query whose client gets no place: with the old answer, if there is one whose TTLs all run, else with SERVFAIL.
// It drops a query of an unusual form.
func (s *server) refuse(v shares.Verdict, q *udp.Query, out []byte) (int, *store.Entry) {
	if now := udp.Clock(); q.Old != nil && !q.Old.Ended(now) {
		count(q, q.Old)
		return q.Old.Replay(out, q.Packet, now), q.Old
	}
	count(q, nil)
	s.refused[v].Inc()
	if q.Key == nil {
		return 0, nil
	}
	return wire.Refuse(out, q.Packet, q.Key), nil
}

// count counts a query that does not go to the plugins, unless another goroutine is counting: the caller must not wait. e is the entry
// of the answer; nil: it has none.
func count(q *udp.Query, e *store.Entry) {
	if !busiest.Process.TryBegin(time.Now()) {
		return
	}
	defer busiest.Process.End()
	one := busiest.Query{Client: shares.Client(q.Sender.Addr()), Miss: e == nil}
	if q.Key != nil {
		one.Name = wire.Name(q.Key)
	}
	one.NXDomain = e != nil && wire.Rcode(e.Wire) == dns.RcodeNameError
	busiest.Process.Add(one)
}

// Sent implements udp.Backend. It counts the answers.
func (s *server) Sent(from []*store.Entry, unsent int, took time.Duration) {
	if unsent > 0 {
		s.unsent.Add(float64(unsent))
	}
	hits := 0
	for _, e := range from {
		if e == nil {
			continue
		}
		hits++
		o := e.Value.(*origin)
		o.countersOf(e).hit(o, took, 1)
		s.promote(e, o)
	}
	s.hits.Add(float64(hits))
}

// drain waits until the queries that came to s are answered. The readers bring no more queries to s.
func (s *server) drain(ctx context.Context) {
	drained := make(chan struct{})
	go func() {
		s.queries.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		log.Warningf("Queries at %s unanswered after %s: ending without them", s.dns.Addr, closePatience)
	}
}
