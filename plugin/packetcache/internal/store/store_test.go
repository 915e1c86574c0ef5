// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"encoding/binary"
	"testing"
	"time"
)

func put(s *store, name uint64) {
	k := binary.BigEndian.AppendUint64(nil, name)
	s.put(&entry{key: k, hash: s.hash(k), wire: make([]byte, 100), expires: time.Hour})
}

func has(s *store, name uint64) bool {
	k := binary.BigEndian.AppendUint64(nil, name)
	return s.get(s.hash(k), k) != nil
}

// size returns the octets in s, and fails the test if its lists are not as its maps.
func size(t *testing.T, s *store) (octets int) {
	t.Helper()
	for i := range s.shard {
		sh, n, sum := &s.shard[i], 0, 0
		var last *entry
		for e := sh.oldest; e != nil; e = e.next {
			if e.prev != last || sh.entries[e.hash] != e {
				t.Fatal("the list is broken")
			}
			last, n, sum = e, n+1, sum+e.cost()
		}
		if last != sh.youngest || n != len(sh.entries) || sum != sh.size {
			t.Fatalf("%d in the list, %d in the map, %d octets of %d", n, len(sh.entries), sh.size, sum)
		}
		octets += sh.size
	}
	return octets
}

// TestFlood asks for random names as an attacker does, while clients go on to ask for theirs: each of those once in 500
// queries, and there is room for some 700 answers.
func TestFlood(t *testing.T) {
	s := newStore(minSize)
	const popular = 50
	for n := range uint64(popular) {
		put(s, n)
	}
	lost := 0
	for n := range uint64(100_000) {
		put(s, 1<<32+n)
		if n%10 == 0 {
			name := n / 10 % popular
			if !has(s, name) {
				lost++
				put(s, name)
			}
		}
	}
	if lost > popular {
		t.Errorf("%d of 10,000 queries for popular names were misses", lost)
	}
	if n := size(t, s); n > minSize || n < minSize/2 {
		t.Errorf("%d octets of %d", n, minSize)
	}
}

func TestStore(t *testing.T) {
	s := newStore(minSize)
	for n := range uint64(1000) {
		put(s, n%77)
		size(t, s)
	}
	for n := range uint64(77) {
		if !has(s, n) {
			t.Errorf("%d is gone", n)
		}
	}
	k := []byte("expired")
	s.put(&entry{key: k, hash: s.hash(k), expires: 5})
	if e := s.get(s.hash(k), k); e == nil || !e.fresh(4) || e.fresh(5) || s.get(s.hash(k), []byte("another")) != nil {
		t.Error("an entry is found when it is not to be, or not when it is")
	}
	huge := []byte("huge")
	s.put(&entry{key: huge, hash: s.hash(huge), wire: make([]byte, minSize), expires: time.Hour})
	if s.get(s.hash(huge), huge) != nil {
		t.Error("an entry that takes the place of all others was stored")
	}
	size(t, s)
}

func BenchmarkHit(b *testing.B) {
	s := newStore(defaultSize)
	query := pack(b, "www.example.org.", 1, nil)
	k, _ := key(query)
	wire := answerTo(b, query, a30)
	a, _ := readAnswer(wire, k)
	s.put(&entry{key: k, hash: s.hash(k), wire: wire, ttls: a.ttls, expires: time.Hour})
	out, buf := make([]byte, maxAnswer), make([]byte, maxKey)
	b.ReportAllocs()
	for b.Loop() {
		k, _ := parseQuery(query, buf)
		e := s.get(s.hash(k), k)
		e.replay(out, query, 1)
	}
}
