// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"time"

	"github.com/miekg/dns"
)

// Results of audits, beside those of statement.
const (
	agreed    = "agreed"    // the cluster DNS denies it, too
	changed   = "changed"   // the name came to exist after the denial, or was gone again
	disagreed = "disagreed" // the name exists although the one above it is denied
)

// memory bounds how long a denial may be the memory of a cache in the cluster DNS.
const memory = time.Minute

// confirmRounds bounds how often a doubt is looked at: the cluster DNS may fail for a name for ever.
const confirmRounds = 6

// audit looks at a sample of the local answers: it asks the cluster DNS for the client's question as well.
func (z *zone) audit(a asker, q question, f found) {
	now := time.Now()
	key := q.name + dns.TypeToString[q.qtype]
	z.mu.Lock()
	defer z.mu.Unlock()
	if last, ok := z.audited.get(key); ok && now.Sub(last) < auditAgain {
		return
	}
	if z.audits.take(now) && z.tasks.start(func() { z.examine(a.detached(), q, f.at) }) {
		z.audited.put(key, now)
	}
}

// examine asks for q, which was answered by the denial at name.
func (z *zone) examine(a asker, q question, name string) {
	switch s, _ := read(a.ask(z.tasks.life, q), q, z.name, time.Now()); s {
	case denied:
		auditsTotal.WithLabelValues(z.name, agreed).Inc()
	case silence:
		auditsTotal.WithLabelValues(z.name, s.String()).Inc()
	default:
		z.suspect(a, name, q)
	}
}

// suspect stops the use of the denial at name, as q exists below it, until it is known why. If the cluster DNS had a
// reason to change its mind, nothing has happened; if not, the denial at name is never used again.
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
	case changed, silence.String(): // nothing is known against it
		delete(z.barred, name)
	case disagreed:
		z.giveUp(name, q)
	}
}

// confirm finds out whether q exists while own is denied. A denial may be the memory of a cache in the cluster DNS,
// or of one of its instances that learned of the change later. So it counts only if it is repeated after the
// first one's TTL is over. It returns the name of silence if nothing is known after some rounds, or when the
// configuration ends.
func (z *zone) confirm(a asker, own, q question) string {
	repeated := false
	for range confirmRounds {
		full, _ := read(a.ask(z.tasks.life, q), q, z.name, time.Now())
		m := a.ask(z.tasks.life, own)
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
		if !z.tasks.pause(wait) {
			break
		}
	}
	return silence.String()
}

// giveUp counts a denial that was wrong about q. The caller has the lock.
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
