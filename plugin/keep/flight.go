// SPDX-License-Identifier: Apache-2.0

package keep

import "sync"

// flights are the questions that are with the upstream.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

// A flight is one question that is with the upstream, and those who wait for its answer.
type flight struct {
	key  string
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

// join returns the flight of key, and whether the caller is the one who asks. That one has to call land.
func (f *flights) join(key []byte) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.m[string(key)]; ok {
		if fl.done == nil {
			fl.done = make(chan struct{})
		}
		return fl, false
	}
	fl := &flight{key: string(key)}
	if f.m == nil {
		f.m = map[string]*flight{}
	}
	f.m[fl.key] = fl
	return fl, true
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
	delete(f.m, fl.key)
	return fl.done != nil
}

// land sets the outcome of a closed flight.
func (f *flights) land(fl *flight, o outcome) {
	fl.outcome = o
	if fl.done != nil { // nobody can join any more
		close(fl.done)
	}
}
