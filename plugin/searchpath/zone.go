// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/background"
)

const (
	// maxTasks bounds the goroutines of a zone that ask questions on their own. A further question is left out: the cluster DNS then
	// gets more queries of clients.
	maxTasks = 32
	// namesKept is the size of each recent map of a zone.
	namesKept = 2048
	// probeRate and probeBurst bound the probes for new cuts. Names with random last labels then cost the cluster DNS few
	// additional questions. A renewal is not bounded: it replaces the query of a client.
	probeRate, probeBurst = 20, 200
	// auditRate and auditBurst bound the audits. auditAgain is the time between two audits of the same question. One audit a
	// second is little beside the queries of a busy cluster. In a quiet cluster the first local answer for each name is audited.
	auditRate, auditBurst = 1, 4
	auditAgain            = 10 * time.Minute
)

// zone holds the states of the names of one zone.
type zone struct {
	name  string
	cuts  bool // whether cuts are made
	tasks *background.Group

	mu      sync.Mutex
	phase   phase
	names   *recent[*entry]          // entries that are no cuts
	proven  *recent[*entry]          // cuts; a flood of random names does not remove them
	barred  map[string]question      // names whose denials are not used, and the question that exists below
	audited *recent[time.Time]       // time of the last audit of a question
	labels  *recent[struct{}]        // first labels of cuts, such as com
	flights map[string]chan struct{} // questions under way for names below a likely cut; closed after the answer
	probes  bucket
	audits  bucket
}

func newZone(name string, cuts bool) *zone {
	return &zone{
		name: name, cuts: cuts, tasks: background.New(maxTasks, askTimeout),
		names: newRecent[*entry](namesKept), proven: newRecent[*entry](namesKept),
		barred: map[string]question{}, audited: newRecent[time.Time](namesKept),
		labels: newRecent[struct{}](namesKept), flights: map[string]chan struct{}{},
		probes: bucket{rate: probeRate, burst: probeBurst}, audits: bucket{rate: auditRate, burst: auditBurst},
	}
}

// start runs f in the background, with an asker that may outlive the query of the client.
func (z *zone) start(a asker, f func(asker)) bool {
	return z.tasks.Start(a.ctx, func(ctx context.Context) {
		a.ctx = ctx
		f(a)
	})
}

// found is a local answer, or says how to pass the query on.
type found struct {
	denial *denial
	ttl    uint32 // remaining time of the denial, in seconds; not 0
	kind   string // byName or byCut
	at     string // the denied name
	leads  bool   // without a denial: other queries wait for this one, and the caller must call land
}

// lookup returns the local answer to q, if there is one. It waits for the renewal of a cut, or below a likely cut for the answer
// to another query for the same name. It waits for patience at most.
func (z *zone) lookup(a asker, q question) found {
	f, done := z.find(a, q, true)
	if done == nil {
		return f
	}
	select {
	case <-done:
	case <-time.After(patience):
	case <-a.ctx.Done():
	}
	f, _ = z.find(a, q, false)
	return f
}

// find returns the local answer to q. If wait is true and an answer may come soon, find returns a channel that is closed then.
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
	switch done := z.flights[q.name]; {
	case wait && renew != "":
		return found{}, z.renew(a, renew)
	case !wait, !likely:
		return found{}, nil
	case done != nil:
		return found{}, done
	}
	// The denial that answers this query for A also answers the query for AAAA, and the queries of other clients. They wait only for
	// a name that is probably denied: its label is a cut elsewhere in the zone, as com is.
	z.flights[q.name] = make(chan struct{})
	return found{leads: true}, nil
}

// land lets the queries go on that wait for name.
func (z *zone) land(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	close(z.flights[name])
	delete(z.flights, name)
}

// above returns the names above name at which a cut may be.
func (z *zone) above(name string) []string {
	if !z.cuts {
		return nil
	}
	return cutsAbove(name, z.name)
}

// entry returns the entry of name, or nil if there is none or name is barred. The caller holds the lock.
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

// note records the event ev for name. d is nil if the name exists. The caller holds the lock.
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

// learn records the answer m to the query of a client, and begins to look for a cut above a denied name.
func (z *zone) learn(a asker, q question, m *dns.Msg) {
	now := time.Now()
	s, d := read(m, q, z.name, now)
	if s == silence || s == denied && d == nil {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	switch s {
	case denied:
		z.note(q.name, nameDenied, d, now)
		if w, ok := z.nextWork(q, now); ok && !z.start(a, func(a asker) { z.descend(a, q, w) }) {
			z.release(w)
		}
	case exists:
		z.learnExists(q, now)
	case otherwise:
		z.forget(q.name, now)
	}
}

// learnExists records that q and the names above q exist. The caller holds the lock.
func (z *zone) learnExists(q question, now time.Time) {
	z.forget(q.name, now) // a name without an entry gets none: probes find out later whether it exists
	for _, c := range z.above(q.name) {
		if e := z.entry(c); e.at(now) == existing && e.until.Sub(now) > existsLife/2 {
			continue // many Services have names below c, so this is the usual case
		}
		z.note(c, nameExists, nil, now)
		if e := z.entry(c); e != nil {
			e.witness = q
		}
	}
}

// forget removes the denial of name, because name exists for another type. The caller holds the lock.
func (z *zone) forget(name string, now time.Time) {
	if z.entry(name) != nil {
		z.note(name, nameExists, nil, now)
	}
}
