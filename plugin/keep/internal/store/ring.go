// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// A ring holds the records of one kind in the order in which they were stored. A position is the number of octets that were
// written before it; the record at a position is in mem at the position modulo the size.
type ring struct {
	mem   []byte         // a multiple of 8 octets
	head  *atomic.Uint64 // copy of next in the header of the file, for other processes
	salt  uint64
	seed  maphash.Seed
	next  uint64 // position of the next record
	tail  uint64 // position of the oldest record
	live  uint64 // octets of the records in the index
	index map[uint64]place
}

// A place says where the newest record of a key is.
type place struct {
	at    uint64 // position
	retry int64  // the upstream has failed and is not asked again before; ns of CLOCK_BOOTTIME
	size  uint32 // octets, with padding
}

// put stores r at the time r.Stored. The oldest records make room. put returns false if r is larger than a quarter of the ring.
func (g *ring) put(r *Record) bool {
	if r.size() > len(g.mem)/4 {
		return false
	}
	g.append(r)
	g.renew(r.Stored)
	return true
}

func (g *ring) append(r *Record) {
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
	h := g.hash(r.Key)
	g.remove(h)
	g.live += n
	g.index[h] = place{at: g.next, size: uint32(n)}
	g.next += n
	g.head.Store(g.next)
}

// remove removes the record whose key has the hash h, and makes its checksum wrong, so that no other process uses the record.
// Its length stays, since drop needs the length.
func (g *ring) remove(h uint64) {
	p, ok := g.index[h]
	if !ok {
		return
	}
	delete(g.index, h)
	g.live -= uint64(p.size)
	g.mem[g.place(p.at)+8] ^= 0xff // an octet of the checksum
}

// renew moves useful records from the tail to the head while less than an eighth of the ring is free. A popular name leaves a
// record behind each time that its TTL ends. renew keeps these old records from pushing out the answers of rare names. If the
// useful records take more than half of the ring, renew moves nothing, and the oldest record is dropped.
func (g *ring) renew(now int64) {
	size := uint64(len(g.mem))
	for range 2 {
		if size-(g.next-g.tail) > size/8 || g.live > size/2 {
			return
		}
		r, ok := decode(g.mem[g.place(g.tail):], g.salt)
		p := g.index[g.hash(r.Key)]
		if ok && p.at == g.tail && r.Until > now {
			r.Key, r.Wire = bytes.Clone(r.Key), bytes.Clone(r.Wire) // append may overwrite them
			g.drop()
			g.append(&r)
			g.failed(r.Key, p.retry)
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

// drop removes the oldest record.
func (g *ring) drop() {
	b := g.mem[g.place(g.tail):]
	if binary.LittleEndian.Uint32(b) == 0 && g.tail+uint64(len(b)) <= g.next && int(binary.LittleEndian.Uint32(b[4:])) == len(b) {
		g.tail += uint64(len(b))
		return
	}
	length := recordLen(b, g.salt)
	if length == 0 || g.tail+uint64(aligned(length)) > g.next || headLen+int(binary.LittleEndian.Uint16(b[42:])) > length {
		g.clear() // another program has written to the ring
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

// get returns the newest record of key. The slices of the record are parts of the ring.
func (g *ring) get(key []byte) (r Record, p place, ok bool) {
	p, ok = g.index[g.hash(key)]
	if !ok {
		return r, p, false
	}
	r, ok = decode(g.mem[g.place(p.at):], g.salt)
	return r, p, ok && bytes.Equal(r.Key, key)
}

// failed records that the upstream failed to answer key, and is not asked again before retry, ns of CLOCK_BOOTTIME.
func (g *ring) failed(key []byte, retry int64) {
	h := g.hash(key)
	if p, ok := g.index[h]; ok {
		p.retry = retry
		g.index[h] = p
	}
}

func (g *ring) place(position uint64) uint64 { return position % uint64(len(g.mem)) }
func (g *ring) hash(key []byte) uint64       { return maphash.Bytes(g.seed, key) }
