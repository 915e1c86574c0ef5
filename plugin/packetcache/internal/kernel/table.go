// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// The bounds of an entry, as in the program. What exceeds them stays with the process.
const (
	maxName   = 128
	maxAnswer = 448
	maxTTLs   = 8
	ways      = 2
)

// An entry is the structure of that name of the program.
type entry struct {
	sequence                    uint32
	server                      uint16
	nameLen                     uint16
	stored, expires             uint64 // ns, CLOCK_MONOTONIC
	hits                        uint64
	typeClass                   uint32
	tail                        uint32
	counts                      uint64
	flags, answerLen, sum, ttls uint16
	ttl                         [maxTTLs]uint16
	name                        [maxName]byte
	answer                      [maxAnswer]byte
}

// words is the number of 8-octet words of an entry.
const words = int(unsafe.Sizeof(entry{}) / 8)

// A table is the answers that the program has.
type table struct {
	seed    uint64
	entries []entry // mapped: the program reads them, and counts hits
	hits    func(e *store.Entry, times uint64)

	mu     sync.Mutex
	from   []*store.Entry // what each of entries was made of; nil: it is free
	owed   []given        // answers that were replaced, for the next harvest
	closed bool           // entries are no longer mapped
}

// given is how often the program gave an answer.
type given struct {
	entry *store.Entry
	times uint64
}

// put copies e, an answer of a server's store, for the program. It does nothing with an answer that the program cannot give.
// toClock is what to add to the entry's times for CLOCK_MONOTONIC.
func (t *table) put(e *store.Entry, server uint16, toClock time.Duration) {
	var v entry
	if !v.fill(e, toClock) {
		return
	}
	v.server = server
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	place := t.place(&v, e)
	old := t.from[place]
	t.from[place] = e
	if times := t.write(place, &v); times > 0 && old != nil && len(t.owed) < len(t.entries) { // else the harvest is late, and some hits are not counted
		t.owed = append(t.owed, given{old, times})
	}
}

// at returns the answer at a place of entries; nil: none.
func (t *table) at(place uint32) *store.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.from[place]
}

// close takes back the mapping. A put that comes later does nothing.
func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return unmap(t.entries)
}

// place returns where to put v: in the place of an earlier answer to the question, or of the one that ends first.
func (t *table) place(v *entry, e *store.Entry) int {
	first := int(v.hash(t.seed)&uint64(len(t.entries)/ways-1)) * ways
	best := first
	for i := first; i < first+ways; i++ {
		if f := t.from[i]; f != nil && t.entries[i].server == v.server && bytes.Equal(f.Key, e.Key) {
			return i
		}
		if t.ends(i) < t.ends(best) {
			best = i
		}
	}
	return best
}

// ends returns when the answer at a place expires, in ns of CLOCK_MONOTONIC; 0: the place is free.
func (t *table) ends(place int) uint64 {
	if t.from[place] == nil {
		return 0
	}
	return t.entries[place].expires
}

// write writes v at a place, and returns how often the program gave the answer that was there. The program does not use an entry
// whose sequence is odd, nor one whose sequence has changed meanwhile.
func (t *table) write(place int, v *entry) (hits uint64) {
	e := &t.entries[place]
	sequence := atomic.AddUint32(&e.sequence, 1)
	hits = atomic.SwapUint64(&e.hits, 0)
	from := unsafe.Slice((*uint64)(unsafe.Pointer(v)), words)
	to := unsafe.Slice((*uint64)(unsafe.Pointer(e)), words)
	for i := range words {
		switch uintptr(i) * 8 {
		case unsafe.Offsetof(e.sequence):
			head := from[i]&^(1<<32-1) | uint64(sequence)
			atomic.StoreUint64(&to[i], head)
		case unsafe.Offsetof(e.hits):
		default:
			atomic.StoreUint64(&to[i], from[i])
		}
	}
	atomic.AddUint32(&e.sequence, 1)
	return hits
}

// harvest tells of the answers that the program has given since the last harvest. It forgets answers that have expired, and those of servers
// that serve no more.
func (t *table) harvest(now uint64, serves func(server uint16) bool) {
	t.mu.Lock()
	owed := t.owed
	t.owed = nil
	t.mu.Unlock()
	for _, g := range owed {
		t.hits(g.entry, g.times)
	}
	for i := range t.entries {
		t.mu.Lock()
		from, times := t.from[i], uint64(0)
		if from != nil {
			times = atomic.SwapUint64(&t.entries[i].hits, 0)
			if t.entries[i].expires <= now || !serves(t.entries[i].server) {
				t.from[i] = nil
			}
		}
		t.mu.Unlock()
		if times > 0 {
			t.hits(from, times)
		}
	}
}

// fill makes v the answer e. toClock is what to add to the store's times for CLOCK_MONOTONIC. fill returns false if e exceeds a
// bound of the program.
func (v *entry) fill(e *store.Entry, toClock time.Duration) bool {
	question, tail := wire.Parts(e.Key)
	name := question[:len(question)-4]
	behind := e.Wire[wire.HeaderLen+len(question):]
	if tail[4] > 0 { // the query has EDNS options, and the program passes such a query on
		return false
	}
	if len(name) > maxName || len(behind) == 0 || len(behind) > maxAnswer || len(e.TTLs) > maxTTLs {
		return false
	}
	v.stored, v.expires = uint64(e.Stored+toClock), uint64(e.Expires+toClock)
	v.nameLen, v.typeClass, v.tail = uint16(len(name)), binary.LittleEndian.Uint32(question[len(name):]), binary.LittleEndian.Uint32(tail)
	v.flags, v.counts = binary.LittleEndian.Uint16(e.Wire[2:]), binary.LittleEndian.Uint64(e.Wire[4:])
	v.answerLen, v.sum = uint16(len(behind)), sum(behind)
	v.ttls = uint16(len(e.TTLs))
	for i, off := range e.TTLs {
		v.ttl[i] = off - uint16(wire.HeaderLen+len(question))
	}
	copy(v.name[:], name)
	copy(v.answer[:], behind)
	return true
}

// sum adds the little-endian words of b, with end-around carry (RFC 1071).
func sum(b []byte) uint16 {
	var s uint64
	for ; len(b) > 1; b = b[2:] {
		s += uint64(binary.LittleEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// hash is the program's.
func (v *entry) hash(seed uint64) uint64 {
	h := mix(mix(seed, uint64(v.server)<<32|uint64(v.nameLen)), uint64(v.typeClass)<<32|uint64(v.tail))
	for i := 0; i < maxName; i += 8 {
		h = mix(h, binary.LittleEndian.Uint64(v.name[i:]))
	}
	return h
}

func mix(h, w uint64) uint64 {
	h = (h ^ w) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}
