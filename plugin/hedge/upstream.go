// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An upstream is one server that answers questions.
type upstream struct {
	addr    string
	zone    string // a probe asks for its SOA
	pool    *pool
	health  *health
	metrics metrics
}

func newUpstream(addr, zone string, maxAge time.Duration) *upstream {
	u := &upstream{addr: addr, zone: zone, metrics: newMetrics(addr)}
	u.pool = newPool(addr, maxAge, u.metrics.hits, u.metrics.misses)
	u.health = newHealth(u.probe, u.changed)
	return u
}

// start is called when the configuration begins to serve.
func (u *upstream) start() error {
	u.health.move(answering, time.Time{})
	gauges.begin(u.addr)
	return nil
}

func (u *upstream) close() {
	if u.health.close() {
		gauges.end(u.addr)
	}
	u.pool.close()
}

// probe asks for the SOA of a zone that the upstream should serve itself. Any answer counts.
func (u *upstream) probe(timeout time.Duration) bool {
	m := new(dns.Msg).SetQuestion(u.zone, dns.TypeSOA)
	wire, err := pack(m, m.Id)
	if err != nil {
		return false
	}
	deadline := time.Now().Add(timeout)
	c, err := u.pool.get(time.Now(), deadline, u.health.ending) // not an idle connection: the upstream may have dropped it
	if err != nil {
		return false
	}
	c.ask(deadline, deadline)
	if _, err := c.exchange(wire); err != nil {
		c.abort()
		return false
	}
	u.done(c)
	return true
}

// done puts a connection back after an answer.
func (u *upstream) done(c *conn) {
	now := time.Now()
	c.answered = now
	u.health.answered(now)
	u.pool.put(c)
}

// changed logs the new state and sets the gauge.
func (u *upstream) changed(v verdict, last time.Time) {
	if v == answering {
		gauges.set(u.addr, 1)
		log.Infof("Upstream %s answers again, after %s", u.addr, time.Since(last).Round(time.Second))
		return
	}
	gauges.set(u.addr, 0)
	log.Warningf("Upstream %s has not answered since %s: clients get old answers where the cache has them, else SERVFAIL when the timeout is over",
		u.addr, last.Format(time.TimeOnly))
}

// sameQuestion reports whether m answers q. An error may come without a question: some servers answer so.
func sameQuestion(m *dns.Msg, q dns.Question) bool {
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a := m.Question[0]
	return len(m.Question) == 1 && a.Qtype == q.Qtype && a.Qclass == q.Qclass && strings.EqualFold(a.Name, q.Name)
}
