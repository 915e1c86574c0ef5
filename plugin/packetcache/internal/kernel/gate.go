// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// slots is how many clients the gate remembers to have admitted lately, a power of two. Of two clients in one
	// slot each is admitted again and again, which costs some microseconds.
	slots = 4096
	// queue is how many admissions can wait. The next query of a client that finds no room tries again.
	queue = 256
	// round is the time between two looks at what the program has answered.
	round = time.Second
	// maxAdmissions bounds the admissions of a round. Each takes some 30 µs, and a client can invent addresses. One that is too many is
	// forgotten: a client that still asks comes again after a fifth of its time.
	maxAdmissions = 4096
	// maxInterfaces bounds the interfaces that have the program.
	maxInterfaces = 1024
)

// A gate admits clients: the program answers a client only if a query of its own came through the whole stack to the socket a
// moment ago, with all that the node's firewall and the network's policies say. The gate attaches the program to the interface of
// such a query. One goroutine does all that takes a system call.
type gate struct {
	p     *Program
	o     Options
	seed  maphash.Seed
	known [slots]atomic.Uint64 // a client and the time of its last admission
	came  chan timedArrival
	done  chan struct{}
	ended sync.WaitGroup

	// Only for the goroutine.
	links   map[uint32]*attachment // by interface
	clients clients
	fault   string // the last that kept a client from being admitted; the log says so once
}

// An arrival is where a query came from, and the server that was asked.
type arrival struct {
	client  netip.Addr
	ifindex uint32
	server  *Server
}

// A timed arrival is an arrival with its time, in ns of CLOCK_MONOTONIC.
type timedArrival struct {
	arrival
	at uint64
}

func (g *gate) open(p *Program, o Options, admissions []admission) {
	g.p, g.o, g.seed, g.links = p, o, maphash.MakeSeed(), map[uint32]*attachment{}
	g.came, g.done = make(chan timedArrival, queue), make(chan struct{})
	g.clients = newClients(p.objects.Clients, admissions)
	g.ended.Go(g.run)
}

// listen begins to receive the news of interfaces, and forgets interfaces that have gone unnoticed.
func (g *gate) listen(news *linkNews) {
	if !news.open(g.o.Logf) {
		return
	}
	for ifindex, l := range g.links {
		if l.dead() {
			g.forget(ifindex)
		}
	}
}

func (g *gate) run() {
	tick := time.NewTicker(round)
	defer tick.Stop()
	var news linkNews
	defer news.close()
	g.listen(&news)
	budget := newQuota(maxAdmissions)
	for {
		select {
		case <-g.done:
			return
		case a := <-g.came:
			if budget.take(a.ifindex) {
				g.admit(a)
			}
		case u, ok := <-news.updates:
			if !ok {
				news.close() // until the next tick: to begin anew each time would take all of the goroutine's time
			} else if u.Header.Type == unix.RTM_DELLINK {
				g.forget(uint32(u.Index))
			}
		case <-tick.C:
			g.p.renew()
			g.harvest(clock())
			if news.updates == nil {
				g.listen(&news)
			}
			budget = newQuota(maxAdmissions)
		}
	}
}

// harvest tells of what the program has answered since the last harvest. The clients come first, since the table forgets answers.
func (g *gate) harvest(now uint64) {
	g.clients.harvest(now, g.p.serves, func(client netip.Addr, a *admission) {
		g.o.Asked(Asked{Client: client, Last: g.p.table.at(a.last), Hits: a.hits, NXDomain: a.nxdomain})
	})
	g.p.table.harvest(now, g.p.serves)
}

// close ends the goroutine, detaches the program and tells of its last answers.
func (g *gate) close() error {
	close(g.done)
	g.ended.Wait()
	var errs []error
	for _, l := range g.links {
		errs = append(errs, l.close())
	}
	g.harvest(clock())
	return errors.Join(append(errs, unmap(g.clients.slots))...)
}

// Came is told that a query of a client came to the socket by an interface. It does not wait. Now is the caller's clock: it
// decides only how often a client is admitted again.
func (s *Server) Came(client netip.Addr, ifindex uint32, now time.Duration) {
	g := &s.p.gate
	a := arrival{client.WithZone(""), ifindex, s}
	again := max(s.terms.Admit/5, time.Millisecond)
	tag := maphash.Comparable(g.seed, a)
	slot := &g.known[tag%slots]
	tag = tag&^0xffff | uint64(now/again)&0xffff
	if slot.Load() == tag {
		return
	}
	select {
	case g.came <- timedArrival{a, clock()}:
		slot.Store(tag)
	default:
	}
}

// loopback is the index of the interface lo (include/net/flow.h, LOOPBACK_IFINDEX).
const loopback = 1

// admit makes the program answer a client. The time of an admission begins when the query came, and not when admit handles the arrival:
// the admission stands for what the node's rules said at that moment.
//
// The host's own queries come in by lo. The socket names another interface for them: the one that has the address that was asked
// (net/ipv4/ip_sockglue.c, ipv4_pktinfo_prepare).
func (g *gate) admit(a timedArrival) {
	until := a.at + uint64(a.server.terms.Admit)
	if until <= clock() {
		return
	}
	l := g.at(a.ifindex, a.server.terms.Force)
	if l.has(a.server.addr) {
		host := a.arrival
		host.ifindex = loopback
		g.admitAt(g.at(loopback, a.server.terms.Force), host, until)
	}
	g.admitAt(l, a.arrival, until)
}

func (g *gate) admitAt(l *attachment, a arrival, until uint64) {
	if !l.attached() {
		return
	}
	mac, ok := pathTo(a.client, a.server.addr, a.ifindex)
	if !ok {
		return
	}
	if err := g.clients.admit(a.client, a.ifindex, a.server.number, mac, until); err != nil && err.Error() != g.fault {
		g.fault = err.Error()
		g.o.Logf("Clients are not answered in the kernel: %v", err)
	}
}

// at returns the attachment at an interface. It attaches the program there when it is asked first, and looks again later whether the
// program may be there.
func (g *gate) at(ifindex uint32, force bool) *attachment {
	l := g.links[ifindex]
	switch {
	case l != nil:
		l.review(g.p.objects.Nodelocaldns, force, g.o.Logf)
	case len(g.links) < maxInterfaces:
		if l = attach(g.p.objects.Nodelocaldns, ifindex, force, g.o.Logf); l.of != nil { // else it has gone, and nobody will say so
			g.links[ifindex] = l
		}
	}
	return l
}

// forget is told that an interface has gone.
func (g *gate) forget(ifindex uint32) {
	if l := g.links[ifindex]; l != nil {
		_ = l.close() // the kernel has detached the program
		delete(g.links, ifindex)
	}
}
