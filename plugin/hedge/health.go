// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// probeInterval is the time between the beginnings of two probes, and the timeout of a probe.
const probeInterval = time.Second

// A verdict is the state of an upstream in one configuration.
type verdict int32

const (
	prepared  verdict = iota // the configuration does not serve yet
	answering                // the usual state
	suspect                  // a question had no answer, and neither had the later ones: a probe decides
	silent                   // a probe had no answer
	closed                   // the configuration has ended
)

// A health follows whether an upstream answers at all. A question without an answer says little: perhaps a server behind the
// upstream is silent, which serves only that name. So a probe asks the upstream for a name that the upstream itself serves.
type health struct {
	probe   func(timeout time.Duration) bool // asks once
	changed func(verdict, time.Time)         // called on the way to silent and back, with the time of the last answer

	state atomic.Int32
	last  atomic.Int64 // time of the last answer since epoch; without an answer begun
	begun int64        // the time of newHealth since epoch

	mu     sync.Mutex // orders the changes of state
	ending chan struct{}
	probes sync.WaitGroup
}

// epoch is the zero of times in health. A change of the wall clock does not move them.
var epoch = time.Now()

// wall returns the time of the wall clock for a time since epoch.
func wall(since int64) time.Time {
	return time.Now().Add(time.Duration(since) - time.Since(epoch))
}

func newHealth(probe func(time.Duration) bool, changed func(verdict, time.Time)) *health {
	h := &health{probe: probe, changed: changed, ending: make(chan struct{})}
	h.begun = int64(time.Since(epoch))
	h.last.Store(h.begun)
	return h
}

// ok reports whether the upstream is not known to be silent.
func (h *health) ok() bool { return verdict(h.state.Load()) != silent }

// answered is called for each answer.
func (h *health) answered(now time.Time) {
	last := wall(h.last.Swap(int64(now.Sub(epoch))))
	if verdict(h.state.Load()) == answering {
		return
	}
	h.move(answering, last)
}

// failed is called for each question without an answer; asked is the time of the question.
func (h *health) failed(asked time.Time) {
	if verdict(h.state.Load()) == answering && h.last.Load() <= int64(asked.Sub(epoch)) {
		h.move(suspect, time.Time{})
	}
}

// close ends the probes. It reports whether the upstream has served until this call.
func (h *health) close() bool {
	from, first := h.move(closed, time.Time{})
	if first {
		close(h.ending)
	}
	h.probes.Wait()
	return first && from != prepared
}

// before has the states from which each state may follow.
var before = map[verdict][]verdict{
	answering: {prepared, suspect, silent},            // the configuration begins to serve, or an answer came
	suspect:   {answering},                            // a question had no answer: probes begin
	silent:    {suspect},                              // a probe had no answer
	closed:    {prepared, answering, suspect, silent}, // the configuration ends: no state follows
}

// move changes the state if that is allowed. It returns the state before, and whether the state has changed.
func (h *health) move(to verdict, last time.Time) (from verdict, ok bool) {
	h.mu.Lock()
	from = verdict(h.state.Load())
	if ok = slices.Contains(before[to], from); ok {
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
	return from, ok
}

// watch probes until the upstream answers a probe or a question.
func (h *health) watch() {
	defer h.probes.Done()
	for v := suspect; v == suspect || v == silent; v = verdict(h.state.Load()) {
		begin := time.Now()
		if h.probe(probeInterval) {
			h.answered(time.Now())
			return
		}
		h.move(silent, wall(h.last.Load()))
		select {
		case <-time.After(probeInterval - time.Since(begin)):
		case <-h.ending:
			return
		}
	}
}
