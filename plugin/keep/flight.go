// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// flights are the questions on their way to the upstream, by the hash of their keys.
type flights struct {
	mu sync.Mutex
	m  map[uint64]*flight
}

// seed is the seed of the hashes.
var seed = maphash.MakeSeed()

// A flight is one question on its way to the upstream. The leader asks; followers wait for the answer.
type flight struct {
	key  []byte
	hash uint64
	done chan struct{} // closed when outcome is set
	outcome
}

// outcome is the end of a flight.
type outcome struct {
	state outcomeState
	wire  []byte // the packed answer, without OPT
	rcode int    // of a failed flight
}

type outcomeState int

const (
	inFlight  outcomeState = iota
	answered               // wire is the answer
	failed                 // there is no answer: the server answers rcode
	withdrawn              // the leader gave up: a follower has to ask
	alone                  // the answer is for the leader only: each follower has to ask
)

// join returns the flight of key, and whether the caller leads it. The flight of a leader is own. The leader must call
// land, and must not change key before. If another key has the same hash, which is rare, the flight is nil.
func (f *flights) join(key []byte, own *flight) (fl *flight, first bool) {
	h := maphash.Bytes(seed, key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.m[h]; ok {
		if !bytes.Equal(fl.key, key) {
			return nil, true
		}
		return fl, false
	}
	*own = flight{key: key, hash: h, done: make(chan struct{})}
	if f.m == nil {
		f.m = map[uint64]*flight{}
	}
	f.m[h] = own
	return own, true
}

// land ends the joining of a flight and sets its outcome: the next join of its key begins a new flight.
func (f *flights) land(fl *flight, o outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, fl.hash)
	fl.outcome = o
	close(fl.done)
}
