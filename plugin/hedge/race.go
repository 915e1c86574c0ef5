// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// drain is how long a connection waits for an answer after the race: with the answer the connection can be used again.
const drain = time.Second

// A race is a question whose first attempt has had no answer for the time after. Attempts over other connections begin beside the
// first one, and the first good answer wins.
type race struct {
	q        *question
	upstream *upstream // of the latest attempt
	latest   flight    // of the latest attempt; zero: it has no connection yet
	begun    time.Time // beginning of the latest attempt; zero for the first attempt
	running  int
	pause    time.Duration // time until the next attempt if the latest one is slow
	timer    *time.Timer
	events   chan event
	best     event // the best answer so far, which is not good; without one the latest error
	ctx      context.Context
	cancel   context.CancelFunc
}

// An event says that an attempt has got a connection (flight), or how an attempt has ended.
type event struct {
	flight flight
	from   *upstream
	msg    *dns.Msg
	err    error
	hedge  bool // the attempt was not the first one
}

func newRace(q *question, u *upstream, first flight) *race {
	r := &race{q: q, upstream: u, latest: first, pause: q.h.After, timer: time.NewTimer(time.Millisecond), events: make(chan event, 2*maxAttempts+1), running: 1}
	r.ctx, r.cancel = context.WithDeadline(context.Background(), q.deadline)
	first.conn.until(q.deadline)
	go func() {
		msg, err := r.await(u, first.conn, first.conn.receive)
		r.events <- event{from: u, msg: msg, err: err}
	}()
	return r
}

// run returns the first good answer. If there is none, it returns another answer, or an error.
func (r *race) run() (*dns.Msg, error) {
	defer r.cancel() // attempts that still wait for a connection end
	defer r.timer.Stop()
	for r.running > 0 {
		select {
		case <-r.timer.C:
			if r.best.msg != nil { // the other attempts have had the time after for a better answer
				return r.second()
			}
			r.consider()
		case e := <-r.events:
			if e.flight.conn != nil {
				r.latest = e.flight
				r.timer.Reset(e.flight.patience)
				continue
			}
			if e.err == nil && good(e.msg) {
				if e.hedge {
					e.from.metrics.wins.Inc()
				}
				r.q.by = e.from
				return e.msg, nil
			}
			r.ended(e)
		case <-r.ctx.Done():
			if r.best.msg == nil {
				return nil, os.ErrDeadlineExceeded
			}
			return r.second()
		case <-r.q.done:
			return nil, context.Canceled
		}
	}
	return r.second()
}

// second returns the best answer if there is no good one.
func (r *race) second() (*dns.Msg, error) {
	r.q.by = r.best.from
	return r.best.msg, r.best.err
}

// consider begins another attempt if there is a reason, and sets the time of the next call.
func (r *race) consider() {
	wait := newPatience
	switch {
	case r.latest.conn == nil && r.q.h.next(r.upstream) != r.upstream && time.Since(r.begun) >= r.q.h.After:
		r.more(true) // with another upstream
	case r.latest.conn != nil: // without a connection another attempt at the same upstream would wait for the same pool
		lost := r.latest.lost()
		r.more(lost)
		if lost && r.q.sent > 2 {
			r.more(lost) // the network has lost two of two packets, so it loses many
		}
		if !lost {
			wait, r.pause = r.pause, 2*r.pause
		}
	}
	r.timer.Reset(wait)
}

// more begins another attempt if the budget allows one.
func (r *race) more(lost bool) {
	switch {
	case r.q.sent >= maxAttempts:
	case r.q.h.budgets.spend(lost):
		r.begin(r.upstream.metrics.hedges)
	default:
		r.upstream.metrics.exhausted.Inc()
	}
}

// ended records an attempt that has ended without a good answer. After a refusal or a reset another attempt begins.
func (r *race) ended(e event) {
	r.running--
	if e.msg != nil || r.best.msg == nil {
		r.best = e
	}
	if refused := e.err != nil && !timedOut(e.err) && !errors.Is(e.err, context.Canceled); refused && r.q.sent < maxAttempts {
		r.begin(r.upstream.metrics.retries)
	}
}

func (r *race) begin(attempts prometheus.Counter) {
	r.running++
	r.q.sent++
	attempts.Inc()
	u := r.q.h.next(r.upstream)
	r.upstream, r.latest, r.begun = u, flight{}, time.Now()
	go func() {
		msg, err := r.attempt(u)
		r.events <- event{from: u, msg: msg, err: err, hedge: true}
	}()
}

// attempt asks u over a new connection, or over one that has answered since the question was asked.
func (r *race) attempt(u *upstream) (*dns.Msg, error) {
	c, err := u.pool.get(r.q.asked, r.q.deadline, r.ctx.Done())
	if err != nil {
		return nil, err
	}
	r.events <- event{flight: c.ask(r.q.deadline, r.q.deadline)}
	return r.await(u, c, func() ([]byte, error) { return c.exchange(r.q.wire) })
}

// await returns the answer that receive reads from c. If the race ends before, await waits for drain: TCP repeats a lost packet
// after 200 ms or more, and the connection can be used again after the answer.
func (r *race) await(u *upstream, c *conn, receive func() ([]byte, error)) (*dns.Msg, error) {
	bounded := make(chan struct{})
	stop := context.AfterFunc(r.ctx, func() {
		c.until(time.Now().Add(drain))
		close(bounded)
	})
	data, err := receive()
	if !stop() {
		<-bounded // the deadline is set before the next question uses the connection
	}
	if err != nil {
		c.abort()
		return nil, err
	}
	return r.q.accept(u, c, data)
}

// good reports whether m ends the race. Another upstream may have a better answer than SERVFAIL or REFUSED.
func good(m *dns.Msg) bool { return m.Rcode != dns.RcodeServerFailure && m.Rcode != dns.RcodeRefused }
