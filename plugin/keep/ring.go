// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// A ring holds the records of one kind, in the order of their storing. Positions count octets since the ring
// was empty; the place of a position in mem is its remainder. The writer relies on what it wrote itself.
type ring struct {
	mem   []byte         // a multiple of 8 octets
	head  *atomic.Uint64 // where other processes read next; in the file's header
	salt  uint64
	seed  maphash.Seed
	next  uint64 // position of the next record
	tail  uint64 // position of the oldest record
	index map[uint64]place
}

// A place is where the newest record of a key is.
type place struct {
	at    uint64 // position
	retry int64  // until then the upstream need not be asked again, since it failed; ns of CLOCK_BOOTTIME
}

// put appends r, and forgets the oldest records in its place. It reports whether r fits: a record may have a
// quarter of the ring.
func (g *ring) put(r *record) bool {
	n := uint64(r.size())
	if n > uint64(len(g.mem))/4 {
		return false
	}
	if rest := uint64(len(g.mem)) - g.place(g.next); rest < n {
		g.forget(rest)
		filler := g.mem[g.place(g.next):]
		binary.LittleEndian.PutUint32(filler, 0)
		binary.LittleEndian.PutUint32(filler[4:], uint32(rest))
		g.next += rest
	}
	g.forget(n)
	r.encode(g.mem[g.place(g.next):][:n], g.salt)
	g.index[g.hash(r.key)] = place{at: g.next}
	g.next += n
	g.head.Store(g.next)
	return true
}

// forget makes room for n octets at g.next.
func (g *ring) forget(n uint64) {
	for g.next+n-g.tail > uint64(len(g.mem)) {
		b := g.mem[g.place(g.tail):]
		if binary.LittleEndian.Uint32(b) == 0 && g.tail+uint64(len(b)) <= g.next && int(binary.LittleEndian.Uint32(b[4:])) == len(b) {
			g.tail += uint64(len(b))
			continue
		}
		length := recordLen(b, g.salt)
		if length == 0 || headLen+int(binary.LittleEndian.Uint16(b[42:])) > length {
			g.clear() // somebody else wrote here
			return
		}
		key := b[headLen:][:binary.LittleEndian.Uint16(b[42:])]
		if h := g.hash(key); g.index[h].at == g.tail {
			delete(g.index, h)
		}
		g.tail += uint64(aligned(length))
	}
}

func (g *ring) clear() {
	clear(g.index)
	g.tail = g.next
}

// get returns the newest record of key; its slices are parts of the ring.
func (g *ring) get(key []byte) (r record, p place, ok bool) {
	p, ok = g.index[g.hash(key)]
	if !ok {
		return r, p, false
	}
	r, ok = decode(g.mem[g.place(p.at):], g.salt)
	return r, p, ok && bytes.Equal(r.key, key)
}

// failed notes that the upstream failed to answer key, and need not be asked again until retry.
func (g *ring) failed(key []byte, retry int64) {
	h := g.hash(key)
	if p, ok := g.index[h]; ok {
		p.retry = retry
		g.index[h] = p
	}
}

func (g *ring) place(position uint64) uint64 { return position % uint64(len(g.mem)) }
func (g *ring) hash(key []byte) uint64       { return maphash.Bytes(g.seed, key) }
