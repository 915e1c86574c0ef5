// SPDX-License-Identifier: Apache-2.0

// Package shares divides a bounded number of places among clients, so that one client cannot take them all. A place is a question
// that waits for an upstream, a query in the plugins, or a TCP connection.
package shares

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Verdict says whether a client got a place.
type Verdict int

const (
	Admitted  Verdict = iota
	OverShare         // places are short, and the client holds its share of them
	Full              // all places are taken
)

// String returns the verdict as a label of a metric.
func (v Verdict) String() string { return [...]string{"admitted", "share", "full"}[v] }

// Places are a bounded number of places that clients hold for a while.
//
// While half of the places are free, every client is admitted. Beyond that a client is admitted while it holds less than its share:
// the number of places divided by the number of clients that hold places now. So a single client may hold all places. A share is
// at least a 256th of the places: one pod can send from all 256 addresses of an IPv4 /24, and must not fill the reserve.
//
// The reserve is a quarter of the places, in addition. When all places are taken, the reserve admits clients that hold less than
// their share. The first half of the reserve also admits favoured queries. So a second client finds a place at once.
type Places struct {
	max  int
	tell func(client netip.Addr, refused int)
	now  func() time.Time

	mu       sync.Mutex
	used     int
	held     map[netip.Addr]int
	networks map[netip.Addr]int // how many clients of an IPv6 /64 hold places, by its first address
	tally    Tally              // of refusals
}

// New returns max places; max must be at least 1. Enter calls tell at the first refusal, and later every 30 s at
// most, with the client that has the most refusals and their number. Enter holds no lock then. tell may be nil.
func New(max int, tell func(client netip.Addr, refused int)) *Places {
	return &Places{max: max, tell: tell, now: time.Now, held: map[netip.Addr]int{}, networks: map[netip.Addr]int{}}
}

// Client returns the address under which the places of a are counted: a without its zone, and an IPv4-mapped address as IPv4. The
// places of an IPv6 /64 are not counted together, since all pods of a Kubernetes node are in one /64 (kube-controller-manager,
// -node-cidr-mask-size-ipv6).
func Client(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Address returns the IP address of a. The zero address is the server itself: the questions with which cache, keep and
// searchpath renew answers have no address.
func Address(a net.Addr) netip.Addr {
	if with, ok := a.(interface{ AddrPort() netip.AddrPort }); ok { // *net.UDPAddr, *net.TCPAddr
		return with.AddrPort().Addr()
	}
	ap, _ := netip.ParseAddrPort(a.String()) // after an error ap has the zero address
	return ap.Addr()
}

// Enter takes a place for client, a result of Client. A favoured query may use half of the reserve although its client holds its
// share. After Admitted the caller must call Leave once.
func (p *Places) Enter(client netip.Addr, favoured bool) Verdict {
	p.mu.Lock()
	v := p.verdict(client, favoured)
	if v == Admitted {
		p.used++
		p.held[client]++
		if p.held[client] == 1 && client.Is6() {
			p.networks[network(client)]++
		}
		p.mu.Unlock()
		return v
	}
	busiest, refused := p.tally.Add(client, 1, p.now())
	p.mu.Unlock()
	if refused > 0 && p.tell != nil {
		p.tell(busiest, refused)
	}
	return v
}

func (p *Places) verdict(client netip.Addr, favoured bool) Verdict {
	held, clients := p.held[client], len(p.held)
	if held == 0 {
		clients++
	}
	switch {
	case p.used < p.max/2 || favoured && p.used < p.max+p.max/8:
		return Admitted
	case p.used >= p.max+p.max/4:
		return Full
	case p.used >= p.max && client.Is6() && p.networks[network(client)] >= crowd:
		return OverShare
	case held < share(p.max, clients):
		return Admitted
	case len(p.held) == 1: // the client is alone, and its share is all places
		return Full
	}
	return OverShare
}

// share returns the number of limit places that each client may hold. clients, at least 1, is the number of clients that hold places.
func share(limit, clients int) int { return max(limit/clients, limit/256, 1) }

// Leave returns a place that Enter gave to client.
func (p *Places) Leave(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	if p.held[client]--; p.held[client] > 0 {
		return
	}
	delete(p.held, client)
	if !client.Is6() {
		return
	}
	n := network(client)
	if p.networks[n]--; p.networks[n] <= 0 {
		delete(p.networks, n)
	}
}

// crowd is greater than the number of pods of a node: 110 by the kubelet's default, and up to 250. If so many clients of one IPv6 /64
// hold places, they are one host with many real or forged addresses. Such a /64 gets no place of the reserve.
const crowd = 256

// network returns the first address of the /64 of an IPv6 address.
func network(client netip.Addr) netip.Addr {
	p, _ := client.Prefix(64)
	return p.Addr()
}

// Excess returns the number of places that each client holds beyond its share of max, for places that are taken without Enter. While
// at most half of max are held, the result is empty. A single client may hold max.
func Excess(max int, held map[netip.Addr]int) map[netip.Addr]int {
	used := 0
	for _, n := range held {
		used += n
	}
	over := map[netip.Addr]int{}
	if used <= max/2 {
		return over
	}
	most := Most(max, held)
	for client, n := range held {
		if n > most {
			over[client] = n - most
		}
	}
	return over
}

// Most returns the share of each client of limit places, if held has the clients that hold places. The share is at least a 256th of
// the places, unless the clients would then hold more than limit.
func Most(limit int, held map[netip.Addr]int) int {
	most, all := share(limit, max(len(held), 1)), 0
	for _, n := range held {
		all += min(n, most)
	}
	if all > limit {
		return max(limit/len(held), 1)
	}
	return most
}

const (
	// tellEvery is the least time between two reports.
	tellEvery = 30 * time.Second
	// maxTally bounds the clients that are counted between two reports.
	maxTally = 1024
)

// A Tally counts the refusals of each client between two reports. The zero value is ready. Only one goroutine may use a Tally at a
// time.
type Tally struct {
	counts map[netip.Addr]int // refusals since told
	told   time.Time          // of the last report
}

// Add counts n refusals of client. At the first call, and later every 30 s at most, a report is due: Add returns the client with the
// most refusals since the last report, and their number. Otherwise most is 0.
func (t *Tally) Add(client netip.Addr, n int, now time.Time) (busiest netip.Addr, most int) {
	if t.counts == nil {
		t.counts = map[netip.Addr]int{}
	}
	if _, ok := t.counts[client]; ok || len(t.counts) < maxTally {
		t.counts[client] += n
	}
	if now.Sub(t.told) < tellEvery {
		return busiest, 0
	}
	for c, n := range t.counts {
		if n > most || n == most && c.Less(busiest) {
			busiest, most = c, n
		}
	}
	clear(t.counts)
	t.told = now
	return busiest, most
}
