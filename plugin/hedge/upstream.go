// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"errors"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An upstream is one address that questions are sent to.
type upstream struct {
	addr    string
	zone    string // that a probe asks for
	started bool   // the configuration has begun to serve
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
	u.started = true
	gauges.begin(u.addr)
	return nil
}

func (u *upstream) close() {
	if u.health.close() && u.started {
		gauges.end(u.addr)
	}
	u.pool.close()
}

// probe asks for what the upstream should know without asking others. Any answer counts.
func (u *upstream) probe(timeout time.Duration) bool {
	m := new(dns.Msg).SetQuestion(u.zone, dns.TypeSOA)
	wire, err := pack(m, m.Id, nil)
	if err != nil {
		return false
	}
	deadline := time.Now().Add(timeout)
	c, err := u.pool.get(time.Now(), deadline, u.health.ending) // a new connection: handed over, or established
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

// done puts back a connection that has just carried an answer.
func (u *upstream) done(c *conn) {
	now := time.Now()
	c.answered = now
	u.health.answered(now)
	u.pool.put(c)
}

// changed tells the operator.
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

var errReply = errors.New("the answer is not to the question")

// readAnswer returns the answer in data if it is one to q, sent with id.
func readAnswer(data []byte, id uint16, q dns.Question) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(data); err != nil {
		return nil, err
	}
	if !m.Response || m.Id != id || !sameQuestion(m, q) {
		return nil, errReply
	}
	return m, nil
}

// sameQuestion allows an answer without a question, which some servers give with an error.
func sameQuestion(m *dns.Msg, q dns.Question) bool {
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a := m.Question[0]
	return len(m.Question) == 1 && a.Qtype == q.Qtype && a.Qclass == q.Qclass && strings.EqualFold(a.Name, q.Name)
}
