// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// expire is how long a connection may be idle. A CoreDNS server closes an idle connection after 10 s.
	expire = 5 * time.Second
	// maxIdle bounds the idle connections of one upstream.
	maxIdle = 64
	// maxDials bounds the connections of one upstream that are being established. If none was established for the time silence,
	// the bound is maxSilentDials: each attempt leaves an entry in connection tracking for two minutes
	// (nf_conntrack_tcp_timeout_syn_sent).
	maxDials       = 64
	maxSilentDials = 8
	silence        = time.Second
	// dialPatience is the least time before another connection is tried beside one that is not established yet. Behind the
	// ClusterIP of a Service the other connection may lead to another pod. mostDialPatience is the longest such time.
	dialPatience = 10 * time.Millisecond
	// A connection that takes ten times the usual time will not be established: the kernel repeats a lost SYN after 1 s. So the
	// timeout is ten times the usual time, between these bounds. While the usual time is not known, or no connection was
	// established for the time silence, the timeout is mostDialTimeout.
	leastDialTimeout, mostDialTimeout = 100 * time.Millisecond, 900 * time.Millisecond
	mostDialPatience                  = 300 * time.Millisecond
	// refusalPatience is how long a question waits while the upstream refuses all connections.
	refusalPatience = 250 * time.Millisecond
	// atOnce is the number of refusals in a row after which the next attempt follows at once. Later attempts wait for dialPatience.
	atOnce = 3
)

// A pool holds the connections to one upstream. The idle connections are a stack: the connection with the latest answer is used
// first. Connections to a pod that is gone sink to the bottom and expire.
type pool struct {
	addr   string
	maxAge time.Duration
	hits   prometheus.Counter
	misses prometheus.Counter

	mu       sync.Mutex
	closed   bool
	idle     []*conn
	waiters  []*waiter
	dials    []time.Time   // beginnings of the attempts that are under way
	dialing  bool          // dialLoop runs
	renewing bool          // renew runs
	sweeping bool          // a sweep is due
	dialed   time.Time     // when a connection was last established, or dialLoop began
	refusals int           // in a row
	refused  time.Time     // time of the last refusal
	refusal  error         // the last refusal
	rtt      time.Duration // usual time of a handshake
	wake     chan struct{} // for dialLoop
	dialer   net.Dialer
}

// A waiter is a question without a connection. The pool sends one grant over the channel.
type waiter struct {
	since time.Time
	got   chan grant
}

// A grant is a connection or an error.
type grant struct {
	conn *conn
	err  error
}

func newPool(addr string, maxAge time.Duration, hits, misses prometheus.Counter) *pool {
	return &pool{addr: addr, maxAge: maxAge, hits: hits, misses: misses, wake: make(chan struct{}, 1)}
}

// get returns an idle connection that has answered at or after since. If there is none, get waits for the first connection that
// is established or put back. It returns an error at the deadline, when done is closed, and when the upstream has refused
// connections for refusalPatience.
func (p *pool) get(since, deadline time.Time, done <-chan struct{}) (*conn, error) {
	p.mu.Lock()
	if c := p.pop(since); c != nil {
		p.mu.Unlock()
		p.hits.Inc()
		return c, nil
	}
	w := &waiter{since: time.Now(), got: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	if !p.dialing {
		p.dialing = true
		if len(p.dials) == 0 {
			p.dialed = w.since
		}
		go p.dialLoop()
	}
	p.mu.Unlock()
	p.misses.Inc()
	p.wakeUp()
	select {
	case r := <-w.got:
		return r.conn, r.err
	case <-time.After(time.Until(deadline)):
		return nil, p.leave(w, os.ErrDeadlineExceeded)
	case <-done:
		return nil, p.leave(w, context.Canceled)
	}
}

// pop takes the top of the stack, if it has answered at or after since.
func (p *pool) pop(since time.Time) *conn {
	now := time.Now()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		if now.Sub(c.answered) > expire {
			p.dropAll() // the connections below are older
			return nil
		}
		if c.answered.Before(since) {
			return nil
		}
		p.idle = p.idle[:n-1]
		if !c.retired {
			return c
		}
		c.abort()
	}
	return nil
}

func (p *pool) dropAll() {
	for _, c := range p.idle {
		c.abort()
	}
	p.idle = nil
}

// leave removes a waiter from the queue. If the waiter has just got a connection, leave puts it back.
func (p *pool) leave(w *waiter, err error) error {
	p.mu.Lock()
	if i := slices.Index(p.waiters, w); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	select {
	case r := <-w.got:
		if r.conn != nil {
			p.put(r.conn)
		}
	default:
	}
	return err
}

// put takes a connection that carries no question: a new one, or one that has answered.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.retired || c.wear == spoiled:
		c.abort()
		return
	case len(p.waiters) > 0: // also after close: questions that wait are still answered
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		w.got <- grant{conn: c}
	case !p.closed && len(p.idle) < maxIdle:
		p.idle = append(p.idle, c)
		p.sweepLater()
	default:
		c.abort()
		return
	}
	if p.maxAge > 0 && !p.closed && !p.renewing && time.Since(c.born) > p.maxAge {
		p.renewing = true
		go p.renew(c)
	}
}

// sweepLater closes the expired idle connections later, even if no question comes.
func (p *pool) sweepLater() {
	if p.sweeping {
		return
	}
	p.sweeping = true
	time.AfterFunc(expire, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sweeping = false
		p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
			over := c.retired || time.Since(c.answered) >= expire
			if over {
				c.abort()
			}
			return over
		})
		if len(p.idle) > 0 {
			p.sweepLater()
		}
	})
}

// close closes the idle connections. put closes the others.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.dropAll()
}

func (p *pool) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
