// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"time"

	"github.com/miekg/dns"
)

// work is a question that has to be asked before a cut begins: for the name of the cut, or for a name below it that
// existed when it was last asked for.
type work struct {
	cut string
	ask question
}

// probe returns the question whether name exists. A is the type that no cluster DNS leaves out.
func probe(name string) work { return work{name, question{name, dns.TypeA}} }

// nextWork looks for the cut above q, a name that was denied just now. It goes down from the zone (RFC 9156 does the
// same to say less): names that exist are no cuts, and the first one that is denied is one. It returns the question
// that has to be asked before it can go on; the caller has the lock, and settles or releases the work.
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

// descend asks what w says, and goes on until the cut above q is found, or nothing more can be known.
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

// settle asks what w says and records the answer.
func (z *zone) settle(a asker, w work) statement {
	m := a.ask(z.tasks.life, w.ask)
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
		return silence // nothing that lasts
	case s == denied:
		z.note(w.cut, nameDenied, d, now)
	default:
		z.note(w.cut, nameExists, nil, now)
	}
	return s
}

// release ends w: whoever waits for it goes on. It returns the entry, or nil if that was forgotten meanwhile. The
// caller has the lock.
func (z *zone) release(w work) *entry {
	e := z.entry(w.cut)
	if e != nil && e.probe != nil {
		close(e.probe)
		e.probe = nil
	}
	return e
}

// drop forgets name. The caller has the lock.
func (z *zone) drop(name string) {
	z.names.remove(name)
	z.proven.remove(name)
}

// renew asks whether the cut at name is still denied, unless that is asked already. What it returns is closed when it
// is known; nil: it cannot be asked now. The caller has the lock.
func (z *zone) renew(a asker, name string) <-chan struct{} {
	e := z.entry(name)
	if e.probe == nil {
		e.probe = make(chan struct{})
		if !z.tasks.start(func() { z.settle(a.detached(), probe(name)) }) {
			e.probe = nil
		}
	}
	return e.probe
}
