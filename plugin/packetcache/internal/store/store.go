// SPDX-License-Identifier: Apache-2.0

// Package store keeps answers by their questions, in bounded memory.
package store

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

const (
	shards = 16
	// entryCost is what an entry takes beside its key and its answer, in octets.
	entryCost = 256
)

// An Entry is one answer as it went to a client. Its exported fields do not change once it is stored. Times are monotonic, from
// a moment that the caller chooses.
type Entry struct {
	Key     []byte        // of the query (wire.ParseQuery)
	Wire    []byte        // the answer
	TTLs    []uint16      // the offset of each TTL in Wire (wire.Answer)
	Stored  time.Duration // when the answer came
	Expires time.Duration // when a query for it goes to the plugins again
	Ends    time.Duration // when the first TTL is over
	Value   any           // for the caller; the store does not look at it

	hash       uint64 // of Key
	visited    atomic.Bool
	prev, next *Entry // towards the older, towards the younger
}

// Fresh reports whether e may be given as an answer without asking the plugins.
func (e *Entry) Fresh(now time.Duration) bool { return now < e.Expires }

// Ended reports whether a TTL of e is over.
func (e *Entry) Ended(now time.Duration) bool { return now >= e.Ends }

// Replay writes e to out as the answer to query, and returns its length. out must hold wire.MaxAnswer octets.
func (e *Entry) Replay(out, query []byte, now time.Duration) int {
	return wire.Replay(out, query, e.Wire, e.Key, e.TTLs, uint32((now-e.Stored)/time.Second))
}

// A Store keeps answers by their keys. Its methods may be called by several goroutines at a time.
//
// Each shard evicts as SIEVE does (Zhang et al., NSDI 2024): a hand moves from the oldest entry to the youngest. It takes an
// entry out if nobody asked for the entry since it passed last, and spares the entry otherwise. Names that are asked for only
// once, as in a flood of random names, push out each other and not the names that clients use.
type Store struct {
	seed  maphash.Seed // secret, so that nobody can make names that collide
	limit int          // octets a shard
	shard [shards]shard
}

type shard struct {
	mu               sync.RWMutex
	entries          map[uint64]*Entry
	oldest, youngest *Entry
	hand             *Entry // the next to look at; nil: the oldest
	size             int
}

// New returns a store for size octets.
func New(size int) *Store {
	s := &Store{seed: maphash.MakeSeed(), limit: size / shards}
	for i := range s.shard {
		s.shard[i].entries = map[uint64]*Entry{}
	}
	return s
}

// Get returns the entry of key, nil if there is none. An entry that has expired is returned, too.
func (s *Store) Get(key []byte) *Entry {
	hash := maphash.Bytes(s.seed, key)
	sh := &s.shard[hash%shards]
	sh.mu.RLock()
	e := sh.entries[hash]
	sh.mu.RUnlock()
	if e == nil || !bytes.Equal(e.Key, key) {
		return nil
	}
	if !e.visited.Load() {
		e.visited.Store(true)
	}
	return e
}

// Put stores e in the place of an earlier entry whose key has the same hash. It does not store an entry that is larger than a shard.
func (s *Store) Put(e *Entry) {
	if e.cost() > s.limit {
		return
	}
	e.hash = maphash.Bytes(s.seed, e.Key)
	sh := &s.shard[e.hash%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.entries[e.hash]
	sh.entries[e.hash] = e
	sh.size += e.cost()
	if old != nil {
		sh.replace(old, e)
	} else {
		sh.link(sh.youngest, e)
		sh.link(e, nil)
	}
	for sh.size > s.limit {
		sh.evict(e)
	}
}

func (e *Entry) cost() int { return entryCost + len(e.Key) + len(e.Wire) + 2*len(e.TTLs) }

// replace puts e where old was, as visited: an answer is stored again only if somebody asks for it.
func (sh *shard) replace(old, e *Entry) {
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
func (sh *shard) link(a, b *Entry) {
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

// evict takes one entry out. It never takes keep.
func (sh *shard) evict(keep *Entry) {
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
