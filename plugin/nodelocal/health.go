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

// health is what self-queries said of one address.
type health struct {
	on       bool
	foreign  bool // the last round was answered by other instances alone
	failures int
	answers  int
	unasked  int
	need     int // answers in a row that it takes to go on
}

// note takes in the result of one round.
func (h *health) note(v verdict) {
	if v == unasked {
		if h.unasked++; h.unasked <= unaskedOff {
			return
		}
		v = failed
	} else {
		h.unasked = 0
	}
	h.foreign = v == foreign
	switch v {
	case failed:
		h.answers, h.failures = 0, h.failures+1
		if h.on && h.failures >= failuresOff {
			h.on, h.need = false, answersOn
		}
	case answered:
		h.answers, h.failures = h.answers+1, 0
		h.on = h.on || h.answers >= h.need
	}
}
