// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"hash/maphash"
	"sync"
)

const (
	shards = 16
	// entryCost is what an entry takes beside its key and its answer, in octets.
	entryCost = 256
)

// A store keeps answers by their keys, in bounded memory.
//
// Each shard evicts as SIEVE does (Zhang et al., NSDI 2024): a hand goes from
// the oldest entry to the youngest, spares once what was asked for again, and
// takes what was not. Names that are asked for only once, as in a flood of
// random ones, so push out each other and not what clients use.
type store struct {
	seed  maphash.Seed // secret, so that nobody can make names that collide
	limit int          // octets a shard
	shard [shards]shard
}

type shard struct {
	mu               sync.RWMutex
	entries          map[uint64]*entry
	oldest, youngest *entry
	hand             *entry // the next to look at; nil: the oldest
	size             int
}

func newStore(size int) *store {
	s := &store{seed: maphash.MakeSeed(), limit: size / shards}
	for i := range s.shard {
		s.shard[i].entries = map[uint64]*entry{}
	}
	return s
}

func (s *store) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// get returns what was stored for key, whose hash is given, also if it has expired.
func (s *store) get(hash uint64, key []byte) *entry {
	sh := &s.shard[hash%shards]
	sh.mu.RLock()
	e := sh.entries[hash]
	sh.mu.RUnlock()
	if e == nil || !bytes.Equal(e.key, key) {
		return nil
	}
	if !e.visited.Load() {
		e.visited.Store(true)
	}
	return e
}

// put stores e in the place of an earlier entry with its hash.
func (s *store) put(e *entry) {
	if e.cost() > s.limit {
		return
	}
	sh := &s.shard[e.hash%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.entries[e.hash]
	sh.entries[e.hash] = e
	sh.size += e.cost()
	if old != nil {
		sh.replace(old, e)
	} else {
		sh.push(e)
	}
	for sh.size > s.limit {
		sh.evict(e)
	}
}

func (e *entry) cost() int { return entryCost + len(e.key) + len(e.wire) + 2*len(e.ttls) }

func (sh *shard) push(e *entry) {
	e.prev = sh.youngest
	if sh.youngest != nil {
		sh.youngest.next = e
	} else {
		sh.oldest = e
	}
	sh.youngest = e
}

// replace puts e where old was. That it is stored again says that it is asked for.
func (sh *shard) replace(old, e *entry) {
	sh.size -= old.cost()
	e.prev, e.next = old.prev, old.next
	e.visited.Store(true)
	sh.link(e.prev, e)
	sh.link(e, e.next)
	if sh.hand == old {
		sh.hand = e
	}
}

// link makes a and b neighbours; nil stands for the end of the list.
func (sh *shard) link(a, b *entry) {
	if a != nil {
		a.next = b
	} else {
		sh.oldest = b
	}
	if b != nil {
		b.prev = a
	} else {
		sh.youngest = a
	}
}

// evict takes one entry out, but not keep.
func (sh *shard) evict(keep *entry) {
	e := sh.hand
	for {
		if e == nil {
			e = sh.oldest
		}
		if e != keep && !e.visited.Swap(false) {
			break
		}
		e = e.next
	}
	sh.hand = e.next
	sh.link(e.prev, e.next)
	sh.size -= e.cost()
	delete(sh.entries, e.hash)
}
