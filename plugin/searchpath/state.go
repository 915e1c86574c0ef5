// SPDX-License-Identifier: Apache-2.0

package searchpath

import "time"

// state is what is known of a name.
type state int

const (
	// unknown: nothing is known, or no longer.
	unknown state = iota
	// existing: the name, or one below it, was answered with NOERROR. It needs no probe for existsLife.
	existing
	// absent: the name was denied, for A or AAAA, and is so for both (RFC 2308, section 5).
	absent
	// cut: the name is absent, and the first full name below it that a client asked for was denied as well. It speaks
	// for all names below (RFC 8020), and is renewed when its time is over.
	cut
)

// existsLife is how long a name that exists is not asked for again. Until then no cut begins there.
const existsLife = 30 * time.Second

// event is what the cluster DNS said.
type event int

const (
	nameExists event = iota
	nameDenied
	belowDenied // a full name below was denied while the name itself was known to be absent
)

// after returns the state that follows s.
func (s state) after(e event) state {
	switch {
	case e == nameExists:
		return existing
	case e == nameDenied && s == cut, e == belowDenied && s == absent:
		return cut
	case e == nameDenied:
		return absent
	}
	return s
}

// entry is what is kept of a name.
type entry struct {
	state   state
	until   time.Time     // when existing ends; the end of the others is the denial's
	denial  *denial       // of absent and cut
	witness question      // a name below that existed when it was last asked for; none: ""
	probe   chan struct{} // closed when the probe that is under way is over; nil: none is
}

// at returns the state at the given time. A cut stays one: it has to be renewed.
func (e *entry) at(now time.Time) state {
	switch {
	case e == nil, e.state == existing && !now.Before(e.until), e.state == absent && e.denial.remaining(now) == 0:
		return unknown
	}
	return e.state
}

// speaks returns the denial of an entry that may be used.
func (e *entry) speaks(now time.Time) *denial {
	if s := e.at(now); (s == absent || s == cut) && e.denial.remaining(now) > 0 {
		return e.denial
	}
	return nil
}

// phase is how far a zone is trusted.
type phase int

const (
	// working: no name was found to exist below a denied one.
	working phase = iota
	// doubted: one was.
	doubted
	// ended: two were, at different cuts. The zone is left alone until the next reload.
	ended
)

// next is the phase after one more cut was given up.
func (p phase) next() phase { return min(p+1, ended) }
