// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// maxAttempts bounds the connections over which one question is sent.
const maxAttempts = 8

// A question is the question of one client on its way to the upstreams.
type question struct {
	h        *Hedge
	what     dns.Question // a copy: an attempt may outlive the message of the client
	reply    uint16       // ID of the message of the client
	id       uint16       // ID of the messages to the upstreams
	wire     []byte       // message to the upstreams, behind its length
	asked    time.Time
	deadline time.Time
	done     <-chan struct{} // closed when the client's context ends
	sent     int             // number of attempts
	by       *upstream       // the upstream that has answered
}

// pack returns m with the ID id, behind its length.
func pack(m *dns.Msg, id uint16) ([]byte, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(wire)+2), uint16(len(wire)))
	return append(binary.BigEndian.AppendUint16(framed, id), wire[2:]...), nil
}

// ask returns the answer. Without trouble ask does all the work: it gets a connection, sends the question, reads the answer.
func (q *question) ask(u *upstream) (*dns.Msg, error) {
	q.h.budgets.earn()
	since, attempts := time.Time{}, u.metrics.first
	for tries := 0; ; {
		until, other := q.deadline, q.h.next(u)
		if tries++; tries < len(q.h.upstreams) && other != u {
			until = q.after()
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
		q.sent++
		attempts.Inc()
		f := c.ask(q.after(), q.deadline)
		data, err := c.exchange(q.wire)
		switch {
		case err == nil:
			m, bad := q.accept(u, c, data)
			if bad == nil || since == q.asked {
				q.by = u
				return m, bad
			}
			since, attempts = q.asked, u.metrics.retries // the message answered an earlier question: use a new connection
			continue
		case timedOut(err):
			return newRace(q, u, f).run()
		}
		c.abort() // the server has reset the connection, or closed an idle one
		if q.sent >= maxAttempts {
			return nil, err
		}
		// The server has probably closed the other idle connections, too. If the server closes new connections, ask pauses before
		// the next one.
		since, attempts = q.asked, u.metrics.retries
		if q.sent > atOnce {
			select {
			case <-time.After(newPatience):
			case <-q.done:
				return nil, err
			}
		}
	}
}

// accept returns the answer in data and puts the connection back. It returns an error if data is not an answer to q.
func (q *question) accept(u *upstream, c *conn, data []byte) (*dns.Msg, error) {
	m := new(dns.Msg)
	err := m.Unpack(data)
	if err == nil && (!m.Response || m.Id != q.id || !sameQuestion(m, q.what)) {
		err = errors.New("the answer is not to the question")
	}
	if err != nil {
		c.abort()
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	m.Id = q.reply
	u.done(c)
	return m, nil
}

// after returns when another attempt may begin: the time after from now on, or the deadline if it is earlier.
func (q *question) after() time.Time { return time.Now().Add(min(q.h.After, time.Until(q.deadline))) }
