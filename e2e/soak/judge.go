// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
)

const (
	// flight is how long before an event a query may have been sent and still be on its way: the client may be late to look at an
	// answer on a busy machine.
	flight = 1.0
	// leastRate is how many queries a second a soak of minutes must have had.
	leastRate = 1800
	// aftermath is how long after an event something may be due to it: questions to a silent server are given up 4 s after they came.
	aftermath = 10.0
)

// The bounds of a process.
const (
	mostRSS        = 150 << 20 // octets, at any time
	moreGoroutines = 40        // than at the begin of the soak, while nothing happens
	moreFiles      = 80        // likewise; 64 connections to the cluster DNS are kept
	moreRSS        = 20 << 20  // than ten minutes after the begin of the process, while nothing happens
)

// allows says whether an event of the kind may be why a query was lost.
func (k Kind) allows(e Event, f Failure) bool {
	gap := k.Gap[f.Class]
	after := func(moment float64) bool { return gap > 0 && f.At >= moment-flight && f.At < moment+gap }
	during := k.Outage && f.Class == New && f.Answered && f.At >= e.Begin && f.At < e.End
	return during || after(e.Begin) || after(e.End)
}

// Tally is what was lost at the events of a kind.
type Tally struct {
	Kind
	Times             int
	Tolerated, Beyond map[Class]int
	Answered          int     // of these, by a failure
	Latest            float64 // the longest time from the begin of an event to a query that was lost
	first             Failure // of those beyond
}

// tally finds the event that each lost query is due to: one that allows the loss, or else the last one, if its aftermath lasts. The
// queries in idle were lost while nothing happened.
func (r *Results) tally() (tallies []*Tally, idle []Failure) {
	byKind := map[string]*Tally{}
	for _, k := range r.Kinds {
		byKind[k.Name] = &Tally{Kind: k, Tolerated: map[Class]int{}, Beyond: map[Class]int{}}
		tallies = append(tallies, byKind[k.Name])
	}
	for _, e := range r.Events {
		byKind[e.Kind].Times++
	}
	for _, f := range r.Failures {
		var near, allowing *Event
		for i := range r.Events {
			e := &r.Events[i]
			if f.At >= e.Begin-flight && f.At < e.End+aftermath {
				near = e
			}
			if byKind[e.Kind].allows(*e, f) {
				allowing = e
			}
		}
		switch {
		case allowing != nil:
			byKind[allowing.Kind].add(*allowing, f, true)
		case near != nil:
			byKind[near.Kind].add(*near, f, false)
		default:
			idle = append(idle, f)
		}
	}
	return tallies, idle
}

func (t *Tally) add(e Event, f Failure, tolerated bool) {
	t.Latest = max(t.Latest, f.At-e.Begin)
	if f.Answered {
		t.Answered++
	}
	if tolerated {
		t.Tolerated[f.Class]++
		return
	}
	if sum(t.Beyond) == 0 {
		t.first = f
	}
	t.Beyond[f.Class]++
}

func sum(counts map[Class]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// quiet says that nothing happens at the moment, and nothing has happened for some time.
func (r *Results) quiet(at float64) bool {
	for _, e := range r.Events {
		if at >= e.Begin && at < e.End+aftermath {
			return false
		}
	}
	return true
}

// life is what a process had in its time.
type life struct {
	Process
	first, last Sample // the least of some while nothing happened, and when the process was no longer new; all zero: there are none
	most        Sample // the most of each
	tenMinutes  Sample // the least of some while nothing happened, ten minutes after its begin
	cpu         float64
}

func (r *Results) lives() []life {
	all, still := make([]life, len(r.Processes)), make([][]Sample, len(r.Processes))
	for i, p := range r.Processes {
		all[i].Process = p
	}
	for _, s := range r.Samples {
		l := &all[s.Process]
		l.cpu = s.CPU / max(1, s.At-l.Begin)
		l.most.RSS, l.most.Goroutines, l.most.Files = max(l.most.RSS, s.RSS), max(l.most.Goroutines, s.Goroutines), max(l.most.Files, s.Files)
		if s.At-l.Begin < aftermath || !r.quiet(s.At) {
			continue
		}
		still[s.Process] = append(still[s.Process], s)
	}
	for i, samples := range still {
		n := min(few, len(samples))
		all[i].first, all[i].last = least(samples[:n]), least(samples[len(samples)-n:])
		for j, s := range samples {
			if s.At-all[i].Begin >= 600 {
				all[i].tenMinutes = least(samples[j:min(j+few, len(samples))])
				break
			}
		}
	}
	return all
}

// few is how many samples are looked at for what a process had first and last. A question that waits for an answer in the moment of one
// of them is no growth.
const few = 3

func least(samples []Sample) (l Sample) {
	for i, s := range samples {
		if i == 0 {
			l = s
		}
		l.RSS, l.Goroutines, l.Files = min(l.RSS, s.RSS), min(l.Goroutines, s.Goroutines), min(l.Files, s.Files)
	}
	return l
}

// String says of the first one of several which one it is.
func (f Failure) String() string {
	return fmt.Sprintf("the first one after %.1f s: %s: %s", f.At, f.Class, f.Error)
}

// Faults returns what must not be; nil if all is well.
func (r *Results) Faults() error {
	var all []error
	fault := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	tallies, idle := r.tally()
	if len(idle) > 0 {
		fault("%d queries were lost while nothing happened, %s%s", len(idle), idle[0], r.busy(idle[0]))
	}
	for _, t := range tallies {
		if n := sum(t.Beyond); n > 0 {
			fault("%s: %d queries were lost that it must not cost, %s%s", t.Name, n, t.first, r.busy(t.first))
		}
	}
	var before Sample
	for i, l := range r.lives() {
		if before.At == 0 {
			before = l.first
		}
		if l.most.RSS > mostRSS {
			fault("process %d had %d MB resident, more than %d MB", i+1, l.most.RSS>>20, mostRSS>>20)
		}
		if then := l.tenMinutes.RSS; then > 0 && l.last.RSS > then+moreRSS {
			fault("process %d had %d MB resident after ten minutes, and %d MB at its end", i+1, then>>20, l.last.RSS>>20)
		}
		if n := l.last.Goroutines; n > before.Goroutines+moreGoroutines {
			fault("process %d had %d goroutines at its end, and there were %d at the begin", i+1, n, before.Goroutines)
		}
		if n := l.last.Files; n > before.Files+moreFiles {
			fault("process %d had %d descriptors at its end, and there were %d at the begin", i+1, n, before.Files)
		}
	}
	if len(r.Samples) == 0 || r.queries() == 0 {
		fault("there is no sample, or no query")
	}
	if len(r.Events) == 0 {
		fault("nothing has happened")
	}
	if rate := float64(r.queries()) / max(1, r.Seconds); r.Seconds >= 300 && rate < leastRate {
		fault("%.0f queries a second, fewer than %d: the machine is too slow or too busy", rate, leastRate)
	}
	return errors.Join(all...)
}

// busy says how busy the machine was within the five seconds before and after a query was sent; empty: not known.
func (r *Results) busy(f Failure) string {
	if _, most := r.waiting(f.At-patience, f.At+patience); most > 0 {
		return fmt.Sprintf(" (tasks of the machine waited for a CPU %.0f %% of the time then)", 100*most)
	}
	return ""
}

// patience is for how long a client waits for an answer.
const patience = 5.0

// waiting is the share of the time in which tasks waited for a CPU, between two moments, and the greatest of an interval between samples
// there. Both are zero if it is not known.
func (r *Results) waiting(from, to float64) (share, most float64) {
	var time, waited float64
	for i := 1; i < len(r.Sent); i++ {
		a, b := r.Sent[i-1], r.Sent[i]
		if b.At < from || a.At > to || b.At <= a.At {
			continue
		}
		time, waited = time+b.At-a.At, waited+b.Waited-a.Waited
		most = max(most, min(1, (b.Waited-a.Waited)/(b.At-a.At)))
	}
	return waited / max(1, time), most
}

// queries is the number of all queries.
func (r *Results) queries() int {
	if len(r.Sent) == 0 {
		return 0
	}
	return r.Sent[len(r.Sent)-1].Queries
}
