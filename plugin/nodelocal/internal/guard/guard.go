// SPDX-License-Identifier: Apache-2.0

// Package guard bounds what clients cost this process: the TCP connections of each client, and what waits in the buffers of the
// servers' sockets. It looks at the process's own descriptors, and asks nothing of the servers.
package guard

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

var log = clog.NewWithPlugin("nodelocal")

const (
	// guardInterval is the time between two counts of the descriptors.
	guardInterval = 250 * time.Millisecond
	// shortInterval is the time between two counts while more than half of the connections are in use.
	shortInterval = 100 * time.Millisecond
	// guardPause is the time to the next look after the guard has ended connections. By then the server has closed these
	// connections, and has accepted others that were waiting.
	guardPause = 10 * time.Millisecond
	// At each lookEvery-th count the guard looks at the sockets, since a reload brings new ones. It also looks at each of the
	// firstLooks first counts, since the servers begin to listen some time after the guard begins.
	lookEvery  = 4
	firstLooks = 2 * lookEvery
	// lastingAfter is how long a connection is there before it counts. A query over TCP takes less, also on a busy node.
	lastingAfter = 250 * time.Millisecond
	// maxConnections bounds the connections, whatever the limit of descriptors. Each costs some 7 kB.
	maxConnections = 8192
)

// A guard bounds the TCP connections of each client of this process, so that one client does not take all descriptors. Without
// a free descriptor the servers' loops that accept spin, and nothing that needs a socket works.
type guard struct {
	port uint16
	open *descriptors
	quit chan struct{}
	done sync.WaitGroup

	counts  int
	seen    map[connection]time.Time // when a look first saw it, of those of the last look; each without the time unanswered
	full    fullness
	refused []netip.Addr // whose new connections are dropped
	ended   shares.Tally
	count   prometheus.Counter // of connections ended
	said    map[string]bool    // errors that the log has
}

// Start bounds the connections to servers that answer DNS at a port until stop is called, and counts those that it ends. An error
// says that /proc cannot be read.
func Start(port uint16, count prometheus.Counter) (stop func(), err error) {
	g, err := newGuard(port, count)
	if err != nil {
		return nil, err
	}
	g.run()
	return g.stop, nil
}

func newGuard(port uint16, count prometheus.Counter) (*guard, error) {
	open, err := openDescriptors()
	if err != nil {
		return nil, err
	}
	return &guard{port: port, open: open, quit: make(chan struct{}), full: fullness{}, count: count, said: map[string]bool{}}, nil
}

func (g *guard) run() {
	g.done.Go(func() {
		for {
			select {
			case <-g.quit:
				return
			case <-time.After(g.round()):
			}
		}
	})
}

// stop ends the guard, and lets all clients in again, since the next configuration may take over the sockets.
func (g *guard) stop() {
	close(g.quit)
	g.done.Wait()
	if len(g.refused) > 0 {
		fds, err := g.open.list()
		g.report("listing this process's descriptors", err)
		g.refuse(look(fds, g.port).listening, nil)
	}
	g.report("closing the list of this process's descriptors", g.open.close())
}

// round counts the descriptors, and looks at the sockets if there are many, or from time to time. It returns the time until the next.
func (g *guard) round() time.Duration {
	fds, err := g.open.list()
	g.report("listing this process's descriptors", err)
	limit := descriptorLimit()
	g.counts++
	if len(fds) <= min(limit/4, maxConnections/2) && len(g.refused) == 0 && g.counts > firstLooks && g.counts%lookEvery != 1 {
		return guardInterval
	}
	s := look(fds, g.port)
	g.report("looking after the servers' sockets", errors.Join(widen(s.udp), narrow(s.listening)))
	capacity := capacity(limit, len(fds)-len(s.connections))
	end, full := plan(capacity, g.lasting(s.connections, time.Now()))
	g.refuse(s.listening, g.full.note(full, time.Now()))
	switch {
	case g.end(end):
		return guardPause
	case len(s.connections) > capacity/2:
		return shortInterval
	}
	return guardInterval
}

// lasting returns the connections that a look saw lastingAfter ago or earlier, and all connections of clients that are refused. It
// leaves out connections that come and go with one query: after a moment in which the server could not accept, many of one client
// are there at once, and end at once.
func (g *guard) lasting(all []connection, now time.Time) (some []connection) {
	seen := make(map[connection]time.Time, len(all))
	for _, c := range all {
		key := connection{fd: c.fd, peer: c.peer}
		first, known := g.seen[key]
		if !known {
			first = now
		}
		seen[key] = first
		if now.Sub(first) >= lastingAfter || slices.Contains(g.refused, shares.Client(c.peer.Addr())) {
			some = append(some, c)
		}
	}
	g.seen = seen
	return some
}

// descriptorLimit is how many descriptors this process may have.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 4 * maxConnections
	}
	return int(min(limit.Cur, 4*maxConnections))
}

// capacity is how many connections there may be: half of the descriptors that nothing else needs. Upstreams that do not answer
// may need all but an eighth.
func capacity(limit, others int) int {
	return min(max((limit-others)/2, limit/8, 1), maxConnections)
}

// plan returns which connections to end, and the clients that hold their share. It ends connections of each client that holds more
// than its share. It begins with the connections over which nothing was sent for the longest time. A client with one connection
// does not count as one that holds its share: the connection may carry a query, and the SYN of the next query would be dropped.
func plan(capacity int, all []connection) (end []connection, full []netip.Addr) {
	if len(all) <= capacity/2 {
		return nil, nil
	}
	held := map[netip.Addr]int{}
	of := map[netip.Addr][]connection{}
	for _, c := range all {
		client := shares.Client(c.peer.Addr())
		held[client]++
		of[client] = append(of[client], c)
	}
	for client, n := range shares.Excess(capacity, held) {
		slices.SortFunc(of[client], func(a, b connection) int { return cmp.Compare(b.unanswered, a.unanswered) })
		end = append(end, of[client][:n]...)
	}
	most := shares.Most(capacity, held)
	for client, n := range held {
		if n >= most && n > 1 {
			full = append(full, client)
		}
	}
	return end, full
}

// refuseFor is how long a client is refused new connections after it held its share. The share changes with each client that
// comes and goes, and a client that is let in may take all that is free before the next look.
const refuseFor = 3 * time.Second

// fullness is when clients were last seen to hold their share.
type fullness map[netip.Addr]time.Time

// note takes in who holds its share now, and returns who is to be refused, in order.
func (f fullness) note(full []netip.Addr, now time.Time) []netip.Addr {
	for _, client := range full {
		f[client] = now
	}
	maps.DeleteFunc(f, func(_ netip.Addr, last time.Time) bool { return now.Sub(last) >= refuseFor })
	return slices.SortedFunc(maps.Keys(f), netip.Addr.Compare)
}

// refuse makes the listening sockets drop the new connections of clients. A socket of a reload gets the filter with the next change.
func (g *guard) refuse(listening []int, clients []netip.Addr) {
	if slices.Equal(clients, g.refused) {
		return
	}
	for _, fd := range listening {
		g.report("keeping out clients with too many TCP connections", refuse(fd, g.keptOut(fd, clients)))
	}
	g.refused = clients
}

// keptOut returns which of clients a listening socket is to refuse. At another port than that of DNS the socket lets in its own
// address, from which a kubelet asks for /health and /ready. Any process on the host's network can connect from that address:
// with too many connections such a process would have the kubelet restart the cache.
func (g *guard) keptOut(fd int, clients []netip.Addr) []netip.Addr {
	local, ok := endpoint(unix.Getsockname(fd))
	if !ok || local.Port() == g.port {
		return clients
	}
	return slices.DeleteFunc(slices.Clone(clients), func(c netip.Addr) bool { return c == local.Addr() })
}

// end ends connections, and reports whether there were any.
func (g *guard) end(all []connection) bool {
	ended := map[netip.Addr]int{}
	for _, c := range all {
		g.report("closing TCP connections", g.open.shut(c))
		g.count.Inc()
		ended[shares.Client(c.peer.Addr())]++
	}
	for client, n := range ended {
		if who, most := g.ended.Add(client, n, time.Now()); most > 0 {
			log.Warningf("Closing TCP connections, most of them from %s (%d since the last line like this): it holds more than its share, and new ones are dropped", who, most)
		}
	}
	return len(all) > 0
}

// report logs an error, once for each thing that fails.
func (g *guard) report(doing string, err error) {
	if err != nil && !g.said[doing] {
		g.said[doing] = true
		log.Errorf("Error %s: %v", doing, err)
	}
}
