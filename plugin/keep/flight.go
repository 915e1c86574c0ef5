// SPDX-License-Identifier: Apache-2.0

package keep

import "sync"

// flights are the questions on their way to the upstream, by their keys.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

// A flight is one question on its way to the upstream. The leader asks; followers wait for the answer.
type flight struct {
	key  string
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

// join returns the flight of key, and whether the caller leads it. The leader must call land.
func (f *flights) join(key []byte) (fl *flight, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.m[string(key)]; ok {
		return fl, false
	}
	fl = &flight{key: string(key), done: make(chan struct{})}
	if f.m == nil {
		f.m = map[string]*flight{}
	}
	f.m[fl.key] = fl
	return fl, true
}

// land ends the joining of a flight and sets its outcome: the next join of its key begins a new flight.
func (f *flights) land(fl *flight, o outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, fl.key)
	fl.outcome = o
	close(fl.done)
}
