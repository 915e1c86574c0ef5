// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// flights are the questions that are with the upstream, by the hash of their keys.
type flights struct {
	mu sync.Mutex
	m  map[uint64]*flight
}

// seed is of the hashes of keys, in this process.
var seed = maphash.MakeSeed()

// A flight is one question that is with the upstream, and those who wait for its answer.
type flight struct {
	key  []byte
	hash uint64
	done chan struct{} // closed when outcome is set; nil while nobody waits
	outcome
}

// outcome is what became of a flight.
type outcome struct {
	state outcomeState
	wire  []byte // of the answer, without OPT
	rcode int    // of a failure
}

type outcomeState int

const (
	inFlight  outcomeState = iota
	answered               // wire is the answer
	failed                 // there is no answer; the server is to say rcode
	withdrawn              // the one who asked gave up: somebody else has to ask
	alone                  // the answer is of no use to others: everybody has to ask
)

// join returns the flight of key, and whether the caller is the one who asks. That one's flight is own, and it
// has to call close and land; key stays as it is until then. In the rare case that another key has the same hash
// there is no flight.
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

// wait returns a channel that is closed when the outcome of fl is set. It is for the one who asks, before the
// question is on its way.
func (f *flights) wait(fl *flight) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.done == nil {
		fl.done = make(chan struct{})
	}
	return fl.done
}

// close ends a flight: from here on its question is a new one. It reports whether somebody waits for what land
// will say.
func (f *flights) close(fl *flight) (waiting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, fl.hash)
	return fl.done != nil
}

// land sets the outcome of a closed flight.
func (f *flights) land(fl *flight, o outcome) {
	fl.outcome = o
	if fl.done != nil { // nobody can join any more
		close(fl.done)
	}
}
