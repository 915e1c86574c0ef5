// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

const testSize = 256 << 10

func put(s *Store, name uint64) {
	k := binary.BigEndian.AppendUint64(nil, name)
	s.Put(&Entry{Key: k, Wire: make([]byte, 100), Expires: time.Hour})
}

func has(s *Store, name uint64) bool {
	k := binary.BigEndian.AppendUint64(nil, name)
	return s.Get(k) != nil
}

// size returns the octets in s, and fails the test if its lists are not as its maps.
func size(t *testing.T, s *Store) (octets int) {
	t.Helper()
	for i := range s.shard {
		sh, n, sum := &s.shard[i], 0, 0
		var last *Entry
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
	s := New(testSize)
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
	if n := size(t, s); n > testSize || n < testSize/2 {
		t.Errorf("%d octets of %d", n, testSize)
	}
}

func TestStore(t *testing.T) {
	s := New(testSize)
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
	s.Put(&Entry{Key: k, Expires: 5})
	if e := s.Get(k); e == nil || !e.Fresh(4) || e.Fresh(5) || s.Get([]byte("another")) != nil {
		t.Error("an entry is found when it is not to be, or not when it is")
	}
	huge := []byte("huge")
	s.Put(&Entry{Key: huge, Wire: make([]byte, testSize), Expires: time.Hour})
	if s.Get(huge) != nil {
		t.Error("an entry that takes the place of all others was stored")
	}
	size(t, s)
}

func BenchmarkHit(b *testing.B) {
	for name, change := range map[string]func(*dns.Msg){
		"plain": nil, "EDNS": wiretest.EDNS(1232, false), "cookie": wiretest.Option(wiretest.Cookie("01234567")),
	} {
		b.Run(name, func(b *testing.B) {
			s := New(8 << 20)
			query := wiretest.Pack(b, "www.example.org.", 1, change)
			k, _ := wire.ParseQuery(query, make([]byte, wire.MaxKey))
			data := wiretest.AnswerTo(b, query, wiretest.A30)
			a, _ := wire.ReadAnswer(data, k)
			s.Put(&Entry{Key: k, Wire: data, TTLs: a.TTLs, Expires: time.Hour})
			out, buf := make([]byte, wire.MaxAnswer), make([]byte, wire.MaxKey)
			b.ReportAllocs()
			for b.Loop() {
				k, _ := wire.ParseQuery(query, buf)
				e := s.Get(k)
				e.Replay(out, query, 1)
			}
		})
	}
}
