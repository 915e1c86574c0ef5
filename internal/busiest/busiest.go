// SPDX-License-Identifier: Apache-2.0

// Package busiest counts which clients ask most and which names are asked most, in memory of a fixed size, whatever clients send.
// The plugins packetcache and nodelocal count each query once. packetcache counts the queries that it answers. The first of the two
// plugins counts a query that goes on to the other plugins.
package busiest

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// half is the length of a period. What is reported are the current period and the one before it, so a flood is seen at once, and
	// forgotten twice this time after its end.
	half = 5 * time.Second
	// maxName is the length of the longest name that is kept, in wire format. Of a longer name the last labels are kept. The names of
	// Services and of their search lists are shorter.
	maxName = 128
)

// Process has the queries of this process, in all configurations.
var Process = New()

// A Query is one query, or Weight queries like it.
type Query struct {
	Client   netip.Addr // a result of shares.Client
	Name     []byte     // in wire format and lower case (RFC 1035, 3.1); empty: the query has none
	Miss     bool       // not answered by the packet cache
	NXDomain bool       // answered with NXDOMAIN
	Weight   uint32     // 0 is 1
}

// A Count counts queries. Between Begin, or TryBegin, and End one goroutine has it.
type Count struct {
	seed maphash.Seed
	born time.Time

	mu            sync.Mutex
	begun         time.Time // the current period
	current, last *period
}

// A period is what was asked in a time.
type period struct {
	queries uint64
	clients table[client]
	names   table[name]
}

// A client is what is counted for an address beside its queries.
type client struct {
	address          netip.Addr
	misses, nxdomain uint32

	// The majority vote of Boyer and Moore: a name that more than half of the queries have is the one that is left.
	name     name
	nameHash uint64
	votes    uint32
}

// A name is a domain name in wire format, cut at the front.
type name struct {
	len  uint8
	cut  bool
	wire [maxName]byte
}

// New returns an empty Count.
func New() *Count {
	now := time.Now()
	return &Count{seed: maphash.MakeSeed(), born: now, begun: now, current: new(period), last: new(period)}
}

// TryBegin is Begin for a caller that must not wait. It returns false if another goroutine has c.
func (c *Count) TryBegin(now time.Time) bool {
	if !c.mu.TryLock() {
		return false
	}
	c.turn(now)
	return true
}

// Begin takes c for calls of Add, until End.
func (c *Count) Begin(now time.Time) {
	c.mu.Lock()
	c.turn(now)
}

// End gives c back.
func (c *Count) End() { c.mu.Unlock() }

// turn begins a new period if it is time.
func (c *Count) turn(now time.Time) {
	passed := now.Sub(c.begun)
	switch {
	case passed < half:
		return
	case passed < 2*half:
		c.begun = c.begun.Add(half)
	default: // nobody has asked for more than a period
		c.begun = now
		c.current.reset()
	}
	c.current, c.last = c.last, c.current
	c.current.reset()
}

func (p *period) reset() {
	p.queries = 0
	p.clients.reset()
	p.names.reset()
}

// Add counts q.
func (c *Count) Add(q Query) { c.addClient(q, c.addName(q.Name, max(q.Weight, 1))) }

// AddClient counts q but for its name, which AddName has counted or will count: of hits in the kernel it is not known who asked for what.
func (c *Count) AddClient(q Query) { c.addClient(q, c.keyOf(q.Name)) }

// AddName counts a name, in wire format and lower case, for so many queries that AddClient has counted or will count.
func (c *Count) AddName(wire []byte, times uint32) { c.addName(wire, times) }

// A key is what is kept of a name, and its hash.
type key struct {
	kept []byte
	cut  bool
	hash uint64
}

func (c *Count) keyOf(wire []byte) (k key) {
	if k.kept, k.cut = cut(wire); len(k.kept) > 0 {
		k.hash = maphash.Bytes(c.seed, k.kept)
	}
	return k
}

func (c *Count) addName(wire []byte, weight uint32) key {
	k := c.keyOf(wire)
	if len(k.kept) > 0 {
		if n, fresh := c.current.names.add(k.hash, weight); fresh {
			n.set(k.kept, k.cut)
		}
	}
	return k
}

func (c *Count) addClient(q Query, k key) {
	weight := max(q.Weight, 1)
	c.current.queries += uint64(weight)
	cl, fresh := c.current.clients.add(c.hash(q.Client), weight)
	if cl == nil {
		return
	}
	if fresh {
		cl.address, cl.misses, cl.nxdomain, cl.votes, cl.name.len = q.Client, 0, 0, 0, 0
	}
	if q.Miss {
		cl.misses += weight
	}
	if q.NXDomain {
		cl.nxdomain += weight
	}
	switch {
	case len(k.kept) == 0:
	case cl.votes > 0 && cl.nameHash == k.hash:
		cl.votes += weight
	case cl.votes >= weight:
		cl.votes -= weight
	default:
		cl.nameHash, cl.votes = k.hash, weight-cl.votes
		cl.name.set(k.kept, k.cut)
	}
}

// AddNXDomain says that a query that was counted before was answered with NXDOMAIN.
func (c *Count) AddNXDomain(a netip.Addr) {
	if cl := c.current.clients.find(c.hash(a)); cl != nil {
		cl.nxdomain++
	}
}

func (c *Count) hash(a netip.Addr) uint64 {
	b := a.As16()
	return maphash.Bytes(c.seed, b[:])
}

func (n *name) set(wire []byte, cut bool) {
	n.len, n.cut = uint8(copy(n.wire[:], wire)), cut
}

// cut returns the labels at the end of wire that fit.
func cut(wire []byte) (kept []byte, cut bool) {
	for len(wire) > maxName {
		wire, cut = wire[1+int(wire[0]):], true
	}
	return wire, cut
}
