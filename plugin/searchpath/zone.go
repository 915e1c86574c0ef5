// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// namesKept bounds the names of each kind in memory: from this to twice as many.
	namesKept = 2048
	// probeRate and probeBurst bound probes for cuts that are not known yet, so that names with random last labels
	// cost the cluster DNS little more than they do anyway. A renewal takes the place of a client's question.
	probeRate, probeBurst = 20, 200
	// auditRate and auditBurst bound the sample of local answers that are looked at, and auditAgain is the time in
	// which each question is looked at once. A second's audit is little beside what a cluster asks, and a quiet
	// cluster's names are all looked at when they are first answered.
	auditRate, auditBurst = 1, 4
	auditAgain            = 10 * time.Minute
)

// zone is what is known of one zone.
type zone struct {
	name  string
	cuts  bool // whether cuts are made
	tasks *tasks

	mu      sync.Mutex
	phase   phase
	names   *recent[*entry]          // all but cuts
	proven  *recent[*entry]          // cuts: a flood of random names does not reach them
	barred  map[string]question      // cuts and names in doubt, or given up, and what existed there
	audited *recent[time.Time]       // when the question was looked at last
	labels  *recent[struct{}]        // first labels of proven cuts: com and the like
	flights map[string]chan struct{} // names that are asked below a likely cut; closed when they are answered
	probes  bucket
	audits  bucket
}

func newZone(name string, cuts bool) *zone {
	return &zone{
		name: name, cuts: cuts, tasks: newTasks(),
		names: newRecent[*entry](namesKept), proven: newRecent[*entry](namesKept),
		barred: map[string]question{}, audited: newRecent[time.Time](namesKept),
		labels: newRecent[struct{}](namesKept), flights: map[string]chan struct{}{},
		probes: bucket{rate: probeRate, burst: probeBurst}, audits: bucket{rate: auditRate, burst: auditBurst},
	}
}

// found is a local answer, or how to ask for one.
type found struct {
	denial *denial
	ttl    uint32 // what is left of the denial's time, in seconds; not 0
	kind   string // byName or byCut
	at     string // the name that was denied
	leads  bool   // without a denial: others wait for this question, and the caller lands it
}

// lookup returns the local answer to q, if there is one. It waits no longer than patience, for the renewal of a cut,
// or, below a likely cut, for the answer to the same name.
func (z *zone) lookup(a asker, q question) found {
	f, done := z.find(a, q, true)
	if done == nil {
		return f
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-a.ctx.Done():
	}
	f, _ = z.find(a, q, false)
	return f
}

// find returns the local answer to q. If there may soon be one and wait is true, it returns what to wait for.
func (z *zone) find(a asker, q question, wait bool) (found, <-chan struct{}) {
	now := time.Now()
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.phase == ended {
		return found{}, nil
	}
	if d := z.entry(q.name).speaks(now); d != nil {
		return found{denial: d, ttl: d.remaining(now), kind: byName, at: q.name}, nil
	}
	renew, likely := "", false
	for _, c := range z.above(q.name) {
		e := z.entry(c)
		if d := e.speaks(now); d != nil && e.state == cut {
			return found{denial: d, ttl: d.remaining(now), kind: byCut, at: c}, nil
		}
		switch e.at(now) {
		case cut:
			renew = c
		case unknown:
			_, known := z.labels.get(firstLabel(c))
			likely = likely || known
		}
	}
	switch {
	case renew != "" && wait:
		return found{}, z.renew(a, renew)
	case likely && wait:
		return z.join(q.name)
	}
	return found{}, nil
}

// join makes the question for a name wait for one that is under way. The cluster DNS is asked for A, and AAAA and
// other clients have the same answer. That is only done where the name is likely to be denied: below com, or whatever
// else is a cut somewhere in the zone. The caller has the lock.
func (z *zone) join(name string) (found, <-chan struct{}) {
	if done, ok := z.flights[name]; ok {
		return found{}, done
	}
	z.flights[name] = make(chan struct{})
	return found{leads: true}, nil
}

// land lets those go on that wait for name.
func (z *zone) land(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	close(z.flights[name])
	delete(z.flights, name)
}

// above returns the names above name that may be cuts.
func (z *zone) above(name string) []string {
	if !z.cuts {
		return nil
	}
	return cutsAbove(name, z.name)
}

// entry returns what is kept of name; nil if nothing is, or name is barred. The caller has the lock.
func (z *zone) entry(name string) *entry {
	if _, ok := z.barred[name]; ok {
		return nil
	}
	if e, ok := z.proven.get(name); ok {
		return e
	}
	e, _ := z.names.get(name)
	return e
}

// note records what the cluster DNS said of name; d is nil if the name exists. The caller has the lock.
func (z *zone) note(name string, ev event, d *denial, now time.Time) {
	if _, ok := z.barred[name]; ok || z.phase == ended {
		return
	}
	e := z.entry(name)
	if e == nil {
		e = new(entry)
	}
	e.state = e.at(now).after(ev)
	if e.state == existing {
		e.until, e.denial = now.Add(existsLife), nil
	} else if d != nil {
		e.denial = d
	}
	if e.state == cut {
		z.labels.put(firstLabel(name), struct{}{})
		z.names.remove(name)
		z.proven.put(name, e)
	} else {
		z.proven.remove(name)
		z.names.put(name, e)
	}
}

// learn takes what the answer m to a client's question says, and begins to look for a cut above a denied name.
func (z *zone) learn(a asker, q question, m *dns.Msg) {
	now := time.Now()
	s, d := read(m, q, z.name, now)
	if s == silence {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	switch s {
	case denied:
		if d == nil {
			return
		}
		z.note(q.name, nameDenied, d, now)
		if w, ok := z.nextWork(q, now); ok && !z.tasks.start(func() { z.descend(a.detached(), q, w) }) {
			z.release(w)
		}
	case exists:
		z.learnExists(q, now)
	case otherwise:
		z.forget(q.name, now)
	}
}

// learnExists records that q exists, and so do the names above it. The caller has the lock.
func (z *zone) learnExists(q question, now time.Time) {
	z.forget(q.name, now) // what was never denied is not worth a place: should a name below it be denied, it is asked for
	for _, c := range z.above(q.name) {
		if e := z.entry(c); e.at(now) == existing && e.until.Sub(now) > existsLife/2 {
			continue // as with each question for a Service of the same namespace
		}
		z.note(c, nameExists, nil, now)
		if e := z.entry(c); e != nil {
			e.witness = q
		}
	}
}

// forget makes a denial of name void, as the name is there for the other type. The caller has the lock.
func (z *zone) forget(name string, now time.Time) {
	if z.entry(name) != nil {
		z.note(name, nameExists, nil, now)
	}
}
