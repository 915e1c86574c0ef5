// SPDX-License-Identifier: Apache-2.0

package searchpath

import "time"

// state is the state of a name.
type state int

const (
	// unknown: the zone has no valid answer for the name.
	unknown state = iota
	// existing: the answer for the name, or for a name below it, was NOERROR. The state lasts for existsLife.
	existing
	// absent: the cluster DNS denied the name for A or AAAA. That holds for both types (RFC 2308, section 5).
	absent
	// cut: the name is absent, and so is the name below it that a client asked for. The denial holds for all names below
	// (RFC 8020), and is renewed when its time is over.
	cut
)

// existsLife is how long a name stays existing. No cut begins there meanwhile.
const existsLife = 30 * time.Second

// event is an answer of the cluster DNS.
type event int

const (
	nameExists event = iota
	nameDenied
	belowDenied // a name below was denied while this name was absent
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

// entry holds the state of a name.
type entry struct {
	state   state
	until   time.Time     // end of existing; the denial has the end of absent and cut
	denial  *denial       // in the states absent and cut
	witness question      // for a name below that existed when a client last asked for it; without a name: none
	probe   chan struct{} // closed when the probe under way ends; nil: no probe is under way
}

// at returns the state at the time now. A cut stays a cut when its denial ends: it is renewed.
func (e *entry) at(now time.Time) state {
	if e == nil || e.state == existing && !now.Before(e.until) || e.state == absent && e.denial.remaining(now) == 0 {
		return unknown
	}
	return e.state
}

// speaks returns the denial of e, or nil if e has no valid denial.
func (e *entry) speaks(now time.Time) *denial {
	if s := e.at(now); (s == absent || s == cut) && e.denial.remaining(now) > 0 {
		return e.denial
	}
	return nil
}

// phase says how far the denials of a zone are trusted.
type phase int

const (
	// working: no name has been found below a denied name.
	working phase = iota
	// doubted: one name has been found below a denied name.
	doubted
	// ended: two names have been found, at different cuts. The cluster DNS answers for the zone until the next reload.
	ended
)

// next returns the phase after one more wrong denial.
func (p phase) next() phase { return min(p+1, ended) }
