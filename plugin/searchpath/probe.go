// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"time"

	"github.com/miekg/dns"
)

// work is a question to the cluster DNS before a cut begins. It asks for the name of the cut, or for a witness: a name below the
// cut that existed when a client last asked for it.
type work struct {
	cut string
	ask question
}

// probe returns the question whether name exists. The type is A: every cluster DNS answers it.
func probe(name string) work { return work{name, question{name, dns.TypeA}} }

// nextWork looks for the cut above q, a name that was just denied. It walks down from the zone, as a resolver does with RFC 9156.
// A name that exists is no cut; the first denied name is the cut. nextWork returns the question that it needs before the next
// step. The caller holds the lock, and must call settle or release.
func (z *zone) nextWork(q question, now time.Time) (work, bool) {
	for _, c := range z.above(q.name) {
		if _, ok := z.barred[c]; ok || z.phase == ended {
			return work{}, false
		}
		e := z.entry(c)
		if e == nil {
			e = new(entry)
			z.names.put(c, e)
		}
		s := e.at(now)
		if s == existing {
			continue
		}
		if s == cut || e.probe != nil {
			return work{}, false
		}
		if s == absent && e.witness.name == "" {
			z.note(c, belowDenied, nil, now)
			return work{}, false
		}
		if !z.probes.take(now) {
			return work{}, false
		}
		e.probe = make(chan struct{})
		if s == absent {
			return work{c, e.witness}, true
		}
		return probe(c), true
	}
	return work{}, false
}

// descend asks the question of w and the questions that follow, until the cut above q is found or a question has no answer.
func (z *zone) descend(a asker, q question, w work) {
	for {
		s := z.settle(a, w)
		if s == silence {
			return
		}
		if s != denied && w.ask.name != w.cut {
			z.suspect(a, w.cut, w.ask)
			return
		}
		var ok bool
		z.mu.Lock()
		w, ok = z.nextWork(q, time.Now())
		z.mu.Unlock()
		if !ok {
			return
		}
	}
}

// settle asks the question of w and records the answer.
func (z *zone) settle(a asker, w work) statement {
	m := a.ask(w.ask)
	now := time.Now()
	s, d := read(m, w.ask, z.name, now)
	z.mu.Lock()
	defer z.mu.Unlock()
	probesTotal.WithLabelValues(z.name, s.String()).Inc()
	e := z.release(w)
	switch {
	case w.ask.name != w.cut:
		if s == denied && e != nil {
			e.witness = question{}
		}
	case s == silence, s == denied && d == nil:
		z.drop(w.cut)
		return silence // the answer says nothing, or is not valid for leastLife
	case s == denied:
		z.note(w.cut, nameDenied, d, now)
	default:
		z.note(w.cut, nameExists, nil, now)
	}
	return s
}

// release ends w, and lets the queries go on that wait for it. It returns the entry of the cut, or nil if the entry was removed
// meanwhile. The caller holds the lock.
func (z *zone) release(w work) *entry {
	e := z.entry(w.cut)
	if e != nil && e.probe != nil {
		close(e.probe)
		e.probe = nil
	}
	return e
}

// drop removes the entry of name. The caller holds the lock.
func (z *zone) drop(name string) {
	z.names.remove(name)
	z.proven.remove(name)
}

// renew asks whether the cluster DNS still denies name, a cut, unless a question for it is under way. The channel is closed after
// the answer. It is nil if the question cannot be asked now. The caller holds the lock.
func (z *zone) renew(a asker, name string) <-chan struct{} {
	e := z.entry(name)
	if e.probe == nil {
		e.probe = make(chan struct{})
		if !z.start(a, func(a asker) { z.settle(a, probe(name)) }) {
			e.probe = nil
		}
	}
	return e.probe
}
