// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"sync"
	"sync/atomic"
	"time"
)

// probeInterval is the time between two probes of an upstream that does not answer, and how long one of them may take.
const probeInterval = time.Second

// A verdict is what is known of an upstream.
type verdict int32

const (
	answering verdict = iota // the usual case, and the first
	suspect                  // a question had no answer, and none came to others meanwhile: the probe decides
	silent                   // it has not answered the probe
	closed                   // this configuration ends
)

// A health follows whether an upstream answers at all. One question without an answer says little: it may be the name's own
// server that is silent, somewhere behind the upstream. So the upstream is asked for something that it knows by itself.
type health struct {
	probe   func(timeout time.Duration) bool // asks once
	changed func(verdict, time.Time)         // from answering to silent and back, with the time of the last answer

	state atomic.Int32
	last  atomic.Int64 // when it last answered, as the time since epoch; at first: the start

	mu     sync.Mutex // orders the changes of state
	ending chan struct{}
	probes sync.WaitGroup
}

// epoch is what times are measured from: a change of the wall clock is none of the answers'.
var epoch = time.Now()

// wall returns the time of the wall clock at which the time since epoch was since.
func wall(since int64) time.Time {
	return time.Now().Add(time.Duration(since) - time.Since(epoch))
}

func newHealth(probe func(time.Duration) bool, changed func(verdict, time.Time)) *health {
	h := &health{probe: probe, changed: changed, ending: make(chan struct{})}
	h.last.Store(int64(time.Since(epoch)))
	return h
}

// ok reports whether the upstream is not known to be silent.
func (h *health) ok() bool { return verdict(h.state.Load()) != silent }

// answered is called with each answer.
func (h *health) answered(now time.Time) {
	last := wall(h.last.Swap(int64(now.Sub(epoch))))
	if verdict(h.state.Load()) == answering {
		return
	}
	h.move(answering, last)
}

// failed is called for each question without an answer, with the time at which it was asked.
func (h *health) failed(asked time.Time) {
	if verdict(h.state.Load()) == answering && h.last.Load() <= int64(asked.Sub(epoch)) {
		h.move(suspect, time.Time{})
	}
}

// close ends the probes. It reports whether it is the first call.
func (h *health) close() bool {
	first := h.move(closed, time.Time{})
	if first {
		close(h.ending)
	}
	h.probes.Wait()
	return first
}

// move changes the state if there is a way from the present one, and reports whether there was.
//
//	answering -> suspect    a question had no answer: probes begin
//	suspect   -> silent     a probe had no answer
//	suspect   -> answering  an answer came
//	silent    -> answering  an answer came
//	any       -> closed     and nothing follows
func (h *health) move(to verdict, last time.Time) bool {
	h.mu.Lock()
	from := verdict(h.state.Load())
	ok := allowed(from, to)
	if ok {
		h.state.Store(int32(to))
	}
	if ok && to == suspect {
		h.probes.Add(1)
		go h.watch()
	}
	h.mu.Unlock()
	if ok && (to == silent || from == silent && to == answering) {
		h.changed(to, last)
	}
	return ok
}

func allowed(from, to verdict) bool {
	switch to {
	case suspect:
		return from == answering
	case silent:
		return from == suspect
	case answering:
		return from == suspect || from == silent
	case closed:
		return from != closed
	}
	return false
}

// watch probes until the upstream answers, whomever.
func (h *health) watch() {
	defer h.probes.Done()
	timer := time.NewTimer(probeInterval)
	defer timer.Stop()
	for h.watching() {
		begin := time.Now()
		if h.probe(probeInterval) {
			h.answered(time.Now())
			return
		}
		h.move(silent, wall(h.last.Load()))
		timer.Reset(probeInterval - time.Since(begin))
		select {
		case <-timer.C:
		case <-h.ending:
			return
		}
	}
}

func (h *health) watching() bool {
	v := verdict(h.state.Load())
	return v == suspect || v == silent
}
