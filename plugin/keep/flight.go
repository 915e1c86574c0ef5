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
	done chan struct{} // closed when outcome is set; nil while there is no follower
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

// join returns the flight of key, and whether the caller leads it. The flight of a leader is own. The leader must call close and
// land, and must not change key before. If another key has the same hash, which is rare, the flight is nil.
func (f *flights) join(key []byte, own *flight) (fl *flight, first bool) {
	h := maphash.Bytes(seed, key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.m[h]; ok {
		if !bytes.Equal(fl.key, key) {
			return nil, true
		}
		if fl.done == nil {
			fl.done = make(chan struct{})
		}
		return fl, false
	}
	*own = flight{key: key, hash: h}
	if f.m == nil {
		f.m = map[uint64]*flight{}
	}
	f.m[h] = own
	return own, true
}

// wait returns a channel that is closed when the outcome of fl is set. The leader calls wait before it asks.
func (f *flights) wait(fl *flight) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.done == nil {
		fl.done = make(chan struct{})
	}
	return fl.done
}

// close ends the joining of a flight: the next join of its key begins a new flight. close reports whether fl has followers.
func (f *flights) close(fl *flight) (waiting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[fl.hash] == fl { // a second close must not end the joining of the next flight
		delete(f.m, fl.hash)
	}
	return fl.done != nil
}

// land closes a flight and sets its outcome.
func (f *flights) land(fl *flight, o outcome) {
	waiting := f.close(fl) // no follower can join any more
	fl.outcome = o
	if waiting {
		close(fl.done)
	}
}
