// SPDX-License-Identifier: Apache-2.0

package nodelocal

const (
	// failuresOff in a row take an address out of steering.
	failuresOff = 3
	// answersOn in a row put it back.
	answersOn = 2
	// unaskedOff is how many rounds in a row may lack a descriptor for the self-query. Each further one counts as failed: a
	// process without descriptors cannot ask upstreams either.
	unaskedOff = 10
)

// A pulse is what the self-queries so far say of an address.
type pulse uint8

const (
	untried pulse = iota // has not answered yet: one answer makes it alive
	alive                // is to be steered
	deaf                 // has stopped answering: answersOn in a row make it alive
)

// health is what is known of one address.
type health struct {
	state    pulse
	last     verdict
	failures int // in a row; answers of other instances do not count, in either direction
	answers  int // in a row, likewise
	unasked  int // in a row
}

// note takes in the verdict of one round.
func (h *health) note(v verdict) {
	if v == unasked {
		if h.unasked++; h.unasked <= unaskedOff {
			return
		}
		v = failed
	} else {
		h.unasked = 0
	}
	h.last = v
	switch v {
	case failed:
		h.answers, h.failures = 0, h.failures+1
		if h.state == alive && h.failures >= failuresOff {
			h.state = deaf
		}
	case answered:
		h.answers, h.failures = h.answers+1, 0
		if h.state == untried || h.answers >= answersOn {
			h.state = alive
		}
	}
}
