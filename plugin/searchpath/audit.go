// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"time"

	"github.com/miekg/dns"
)

// Results of audits. The others are the names of statements.
const (
	agreed    = "agreed"    // the cluster DNS denies the name, too
	changed   = "changed"   // the name was created after the denial, or deleted again
	disagreed = "disagreed" // the name exists, and a name above it is denied
)

// memory bounds the time for which a cache in the cluster DNS may remember a denial.
const memory = time.Minute

// confirmRounds bounds the rounds of confirm: the cluster DNS may fail for a name for ever.
const confirmRounds = 6

// audit asks the cluster DNS about a sample of the questions that were answered locally.
func (z *zone) audit(a asker, q question, f found) {
	now := time.Now()
	key := q.name + dns.TypeToString[q.qtype]
	z.mu.Lock()
	defer z.mu.Unlock()
	if last, ok := z.audited.get(key); ok && now.Sub(last) < auditAgain {
		return
	}
	if z.audits.take(now) && z.start(a, func(a asker) { z.examine(a, q, f.at) }) {
		z.audited.put(key, now)
	}
}

// examine asks the cluster DNS for q, which the denial of name has answered.
func (z *zone) examine(a asker, q question, name string) {
	switch s, _ := read(a.ask(q), q, z.name, time.Now()); s {
	case denied:
		auditsTotal.WithLabelValues(z.name, agreed).Inc()
	case silence:
		auditsTotal.WithLabelValues(z.name, s.String()).Inc()
	default:
		z.suspect(a, name, q)
	}
}

// suspect stops the use of the denial of name, because q exists below name, and finds out why. If the records of the cluster DNS
// have changed, the denial may be used again. If they have not, the denial is never used again.
func (z *zone) suspect(a asker, name string, q question) {
	own := question{name, dns.TypeA}
	z.mu.Lock()
	if _, ok := z.barred[name]; ok || z.phase == ended {
		z.mu.Unlock()
		return
	}
	if e := z.entry(name); e != nil && e.denial != nil {
		own.qtype = e.denial.qtype
	}
	z.drop(name)
	z.barred[name] = q
	z.mu.Unlock()

	result := z.confirm(a, own, q)
	auditsTotal.WithLabelValues(z.name, result).Inc()
	z.mu.Lock()
	defer z.mu.Unlock()
	switch result {
	case changed, silence.String(): // no fault of the denial is known
		delete(z.barred, name)
	case disagreed:
		z.giveUp(name, q)
	}
}

// confirm finds out whether q exists while own, a name above q, is denied. A cache in the cluster DNS, or one of its instances,
// may remember an old denial. So confirm counts only a denial that is repeated after the TTL of the first one. confirm returns
// the name of silence if confirmRounds do not decide, or when the configuration ends.
func (z *zone) confirm(a asker, own, q question) string {
	repeated := false
	for range confirmRounds {
		full, _ := read(a.ask(q), q, z.name, time.Now())
		m := a.ask(own)
		above, _ := read(m, own, z.name, time.Now())
		switch {
		case full == denied, above == exists, above == otherwise:
			return changed
		case repeated && full != silence && above == denied:
			return disagreed
		}
		wait := denialLife
		if above == denied {
			repeated = true
			wait = min(time.Duration(m.Ns[0].Header().Ttl)*time.Second, memory) + time.Second
		}
		select {
		case <-time.After(wait):
		case <-a.ctx.Done():
			return silence.String()
		}
	}
	return silence.String()
}

// giveUp records that the denial of name was wrong about q. The caller holds the lock.
func (z *zone) giveUp(name string, q question) {
	z.phase = z.phase.next()
	kind := dns.TypeToString[q.qtype]
	if z.phase != ended {
		log.Warningf("Cut given up: the cluster DNS denies %s, and answers for %s %s", name, q.name, kind)
		return
	}
	log.Warningf("Zone %s given up until the next reload, its cluster DNS is asked for every name: it denies %s, and answers for %s %s", z.name, name, q.name, kind)
	zoneActive.WithLabelValues(z.name).Set(0)
	z.names, z.proven, z.audited = newRecent[*entry](0), newRecent[*entry](0), newRecent[time.Time](0)
}
