// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// maxAttempts bounds the connections over which one question is sent.
const maxAttempts = 8

// A question is one client's, on its way to the upstreams.
type question struct {
	h        *Hedge
	what     dns.Question // a copy: attempts may go on when the client's message is used for something else
	reply    uint16       // the ID that the client has given it
	id       uint16       // that it has on its way
	wire     []byte       // with the length in front
	asked    time.Time
	deadline time.Time
	done     <-chan struct{} // of the client's context
	sent     int             // attempts
	by       *upstream       // who has answered
	shared   bool            // attempts beside this goroutine may still use wire
}

// pack returns the message, with its length in front and with id, in buf if that is large enough.
func pack(m *dns.Msg, id uint16, buf []byte) ([]byte, error) {
	if cap(buf) < 512 {
		buf = make([]byte, 512)
	}
	buf = buf[:cap(buf)]
	wire, err := m.PackBuffer(buf[2:])
	if err != nil {
		return nil, err
	}
	if &wire[0] != &buf[2] { // PackBuffer has made a larger one
		buf = append(make([]byte, 2, len(wire)+2), wire...)
	}
	buf = buf[:len(wire)+2]
	binary.BigEndian.PutUint16(buf, uint16(len(wire)))
	binary.BigEndian.PutUint16(buf[2:], id)
	return buf, nil
}

// ask returns the answer. The usual case is all in here: a connection, the question, the answer.
func (q *question) ask(u *upstream) (*dns.Msg, error) {
	q.h.budgets.earn()
	since, attempts := time.Time{}, u.metrics.first
	for tries := 0; ; {
		until, other := q.deadline, q.h.next(u)
		if tries++; tries < len(q.h.upstreams) && other != u {
			until = earlier(time.Now().Add(q.h.After), q.deadline)
		}
		c, err := u.pool.get(since, until, q.done)
		if err != nil && until.Before(q.deadline) && !errors.Is(err, context.Canceled) {
			u.health.failed(q.asked)
			u, attempts = other, other.metrics.retries
			continue
		}
		if err != nil {
			return nil, err
		}
		q.count(attempts)
		f := c.ask(earlier(time.Now().Add(q.h.After), q.deadline), q.deadline)
		data, err := c.exchange(q.wire)
		switch {
		case err == nil:
			m, bad := q.accept(u, c, data)
			if bad == nil || since == q.asked {
				q.by = u
				return m, bad
			}
			since, attempts = q.asked, u.metrics.retries // what came was for an earlier question: a new connection
			continue
		case timedOut(err):
			q.shared = true
			return newRace(q, u, f).run()
		}
		c.abort() // reset, or closed by a server for which it was idle too long
		if q.sent >= maxAttempts {
			return nil, err
		}
		// The others that have been idle as long have most likely gone with it. A server that closes what it has just accepted
		// is not asked without a pause.
		since, attempts = q.asked, u.metrics.retries
		if q.sent > atOnce && !q.pause(newPatience) {
			return nil, err
		}
	}
}

// pause waits. It returns false if the client is gone meanwhile.
func (q *question) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.done:
		return false
	}
}

func (q *question) count(attempts prometheus.Counter) {
	q.sent++
	attempts.Inc()
}

// accept returns the answer in data, and puts the connection back.
func (q *question) accept(u *upstream, c *conn, data []byte) (*dns.Msg, error) {
	m, err := readAnswer(data, q.id, q.what)
	if err != nil {
		c.abort()
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	m.Id = q.reply
	u.done(c)
	return m, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
