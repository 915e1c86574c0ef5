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
	live  uint64 // octets of records that the index leads to
	index map[uint64]place
	moved []byte // for a record that renew moves
}

// A place is where the newest record of a key is.
type place struct {
	at    uint64 // position
	retry int64  // until then the upstream need not be asked again, since it failed; ns of CLOCK_BOOTTIME
	size  uint32 // octets, with padding
}

// put stores r at the time r.stored, and forgets the oldest records in its place. It reports whether r fits: a
// record may have a quarter of the ring.
func (g *ring) put(r *record) bool {
	if r.size() > len(g.mem)/4 {
		return false
	}
	g.append(r)
	g.renew(r.stored)
	return true
}

func (g *ring) append(r *record) {
	n := uint64(r.size())
	if rest := uint64(len(g.mem)) - g.place(g.next); rest < n {
		g.forget(rest)
		filler := g.mem[g.place(g.next):]
		binary.LittleEndian.PutUint32(filler, 0)
		binary.LittleEndian.PutUint32(filler[4:], uint32(rest))
		g.next += rest
	}
	g.forget(n)
	r.encode(g.mem[g.place(g.next):][:n], g.salt)
	h := g.hash(r.key)
	g.remove(h)
	g.live += n
	g.index[h] = place{at: g.next, size: uint32(n)}
	g.next += n
	g.head.Store(g.next)
}

// remove forgets the record whose key has the hash h, and makes it invalid, so that no other process reads it. Its
// length stays, since drop needs it.
func (g *ring) remove(h uint64) {
	p, ok := g.index[h]
	if !ok {
		return
	}
	delete(g.index, h)
	g.live -= uint64(p.size)
	g.mem[g.place(p.at)+8] ^= 0xff // of the checksum
}

// renew moves records that are still of use from the tail to the head while less than an eighth of the ring is
// free. What is asked for all the time leaves a record behind each time that its TTL is over, and these are to
// push out each other, not an answer that nobody has asked for lately. When there is more in use than half of the
// ring, the oldest goes.
func (g *ring) renew(now int64) {
	size := uint64(len(g.mem))
	for range 2 {
		if size-(g.next-g.tail) > size/8 || g.live > size/2 {
			return
		}
		r, ok := decode(g.mem[g.place(g.tail):], g.salt)
		p := g.index[g.hash(r.key)]
		if ok && p.at == g.tail && r.until > now {
			g.moved = append(append(g.moved[:0], r.key...), r.wire...)
			r.key, r.wire = g.moved[:len(r.key)], g.moved[len(r.key):]
			g.drop()
			g.append(&r)
			g.failed(r.key, p.retry)
		} else {
			g.drop()
		}
	}
}

// forget makes room for n octets at g.next.
func (g *ring) forget(n uint64) {
	for g.next+n-g.tail > uint64(len(g.mem)) {
		g.drop()
	}
}

// drop forgets the oldest record.
func (g *ring) drop() {
	b := g.mem[g.place(g.tail):]
	if binary.LittleEndian.Uint32(b) == 0 && g.tail+uint64(len(b)) <= g.next && int(binary.LittleEndian.Uint32(b[4:])) == len(b) {
		g.tail += uint64(len(b))
		return
	}
	length := recordLen(b, g.salt)
	if length == 0 || g.tail+uint64(aligned(length)) > g.next || headLen+int(binary.LittleEndian.Uint16(b[42:])) > length {
		g.clear() // somebody else wrote here
		return
	}
	h := g.hash(b[headLen:][:binary.LittleEndian.Uint16(b[42:])])
	if p, ok := g.index[h]; ok && p.at == g.tail {
		g.remove(h)
	}
	g.tail += uint64(aligned(length))
}

func (g *ring) clear() {
	clear(g.index)
	g.tail, g.live = g.next, 0
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
