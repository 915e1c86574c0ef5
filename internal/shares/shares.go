// SPDX-License-Identifier: Apache-2.0

// Package shares keeps one client from taking from the others what there is a bounded number of: questions that wait for an
// upstream, queries that are with the plugins, TCP connections.
package shares

import (
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
// While half of them are free, everybody is admitted. Beyond that a client is admitted as long as it holds less than its
// share: all places divided by the clients that hold one now. So a client that is alone may hold all. A share is never less than
// a 256th of the places: as many clients as an IPv4 /24 has, from which one pod can send, do not fill the reserve.
//
// The reserve is a quarter more. When all places are taken, it admits the clients that hold less than their share, and its first
// half admits the favoured queries, too. The reserve is why a client that comes second finds a place at once.
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

// New returns max places, which must be at least 1. tell is called, without a lock, at the first refusal and at most each 30 s
// after that, with the client that was refused most and the number of its refusals; tell may be nil.
func New(max int, tell func(client netip.Addr, refused int)) *Places {
	return &Places{max: max, tell: tell, now: time.Now, held: map[netip.Addr]int{}, networks: map[netip.Addr]int{}}
}

// Client returns the address under which the places of a are counted: a without its zone, and an IPv4 address that is mapped
// to IPv6 as IPv4. An IPv6 client is not its /64, since all pods of a Kubernetes node are in one /64
// (kube-controller-manager, -node-cidr-mask-size-ipv6).
func Client(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Enter takes a place for a client, which is what Client returned. A favoured query may use half of the reserve although its
// client holds its share. After Admitted the caller has to call Leave, once.
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
	held := p.held[client]
	switch {
	case p.used < p.max/2 || favoured && p.used < p.max+p.max/8:
		return Admitted
	case p.used >= p.max+p.max/4:
		return Full
	case p.used >= p.max && client.Is6() && p.networks[network(client)] >= crowd:
		return OverShare
	case held < p.share(held == 0):
		return Admitted
	case len(p.held) == 1: // the client is alone, and its share is all there is
		return Full
	}
	return OverShare
}

// share returns how many places each client may hold; another says that one more client is about to hold some.
func (p *Places) share(another bool) int {
	clients := len(p.held)
	if another {
		clients++
	}
	return max(p.max/clients, p.max/256, 1)
}

// Leave gives back a place that Enter admitted the client to.
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

// crowd is more clients of one IPv6 /64 than a node has pods (110 by the kubelet's default, 250 where that is raised). If so
// many clients of one /64 hold places, they are one host with many addresses, its own or invented. Such a /64 gets nothing
// of the reserve.
const crowd = 256

// network returns the first address of the /64 of an IPv6 address.
func network(client netip.Addr) netip.Addr {
	p, _ := client.Prefix(64)
	return p.Addr()
}

// Excess returns how many places each client holds beyond its share of max. It is for places that are taken without Enter.
// While at most half of max are held, no client is in the result. A client that is alone may hold max.
func Excess(max int, held map[netip.Addr]int) map[netip.Addr]int {
	used := 0
	for _, n := range held {
		used += n
	}
	over := map[netip.Addr]int{}
	if used <= max/2 {
		return over
	}
	share := Most(max, held)
	for client, n := range held {
		if n > share {
			over[client] = n - share
		}
	}
	return over
}

// Most returns how many of limit places are the share of each client, if held are the clients that hold some. The share is at
// least a 256th of the places, unless the clients would hold more than limit with that.
func Most(limit int, held map[netip.Addr]int) int {
	p := Places{max: limit, held: held}
	share, all := p.share(len(held) == 0), 0
	for _, n := range held {
		all += min(n, share)
	}
	if all > limit {
		return max(limit/len(held), 1)
	}
	return share
}
