// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// expire is how long a connection may be idle. CoreDNS's servers close one after 10 s.
	expire = 5 * time.Second
	// maxIdle bounds the idle connections of one upstream.
	maxIdle = 64
	// maxDials bounds the connections of one upstream that are being established, and maxSilentDials while none was
	// established for silence: each of these is an entry in connection tracking for two minutes
	// (nf_conntrack_tcp_timeout_syn_sent).
	maxDials       = 64
	maxSilentDials = 8
	silence        = time.Second
	// dialPatience is the least time after which a connection that is not established yet is doubted: another one is tried
	// beside it. Behind the ClusterIP of a Service that one may lead to another pod.
	dialPatience = 10 * time.Millisecond
	// A connection that takes ten times the usual will not be established, as the kernel sends a lost SYN again after 1 s only.
	// It is given up after that time, or the least of these; and after the most while nothing is known, or nobody answers.
	leastDialTimeout, mostDialTimeout = 100 * time.Millisecond, 900 * time.Millisecond
	// mostDialPatience bounds the time after which a connection is doubted.
	mostDialPatience = 300 * time.Millisecond
	// refusalPatience is how long a question waits while all connections are refused.
	refusalPatience = 250 * time.Millisecond
	// atOnce is how many refusals in a row are answered by another attempt at once; the next ones wait for dialPatience.
	atOnce = 3
)

var errTimeout = errors.New("no answer in time")

// A pool has the connections to one upstream. Idle ones are a stack: the one that answered last is used first, and those
// that lead to a pod that is gone are left at the bottom until they expire.
type pool struct {
	addr   string
	maxAge time.Duration
	hits   prometheus.Counter
	misses prometheus.Counter

	mu       sync.Mutex
	closed   bool
	idle     []*conn
	waiters  []*waiter
	dials    []time.Time // when those that are under way began
	dialing  bool        // dialLoop runs
	renewing bool        // renew runs
	sweeping bool        // a sweep is due
	dialed   time.Time   // when one was last established, or dialLoop began
	refusals int         // in a row
	refused  time.Time   // when the last of them came
	refusal  error       // what it was
	rtt      time.Duration
	wake     chan struct{} // for dialLoop
	dialer   net.Dialer
}

// A waiter is a question without a connection. One value comes over the channel.
type waiter struct {
	since time.Time
	got   chan grant
}

// A grant is a connection, or why there is none.
type grant struct {
	conn *conn
	err  error
}

func newPool(addr string, maxAge time.Duration, hits, misses prometheus.Counter) *pool {
	return &pool{addr: addr, maxAge: maxAge, hits: hits, misses: misses, wake: make(chan struct{}, 1)}
}

// get returns a connection: an idle one that has answered at or after since, or else the first that can be established
// or is put back. It gives up at the deadline, or when done is closed, or when connections are refused for a while.
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
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case r := <-w.got:
		return r.conn, r.err
	case <-timer.C:
		return nil, p.leave(w, errTimeout)
	case <-done:
		return nil, p.leave(w, context.Canceled)
	}
}

// pop takes the connection that answered last off the stack if that was at or after since.
func (p *pool) pop(since time.Time) *conn {
	now := time.Now()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		if now.Sub(c.answered) > expire {
			p.dropAll() // those below it are older
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

// leave takes a waiter out of the queue, and puts back what it was given in the same moment.
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

// put takes a connection that carries no question: one that has just answered, or is new.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.retired || c.spoiled:
		c.abort()
		return
	case len(p.waiters) > 0: // also after close: those that wait are answered
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

// sweepLater has the idle connections that have expired closed, also when no question comes any more.
func (p *pool) sweepLater() {
	if p.sweeping {
		return
	}
	p.sweeping = true
	time.AfterFunc(expire, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sweeping = false
		live := slices.IndexFunc(p.idle, func(c *conn) bool { return time.Since(c.answered) < expire && !c.retired })
		if live < 0 {
			live = len(p.idle)
		}
		for _, c := range p.idle[:live] {
			c.abort()
		}
		p.idle = slices.Clone(p.idle[live:])
		if len(p.idle) > 0 {
			p.sweepLater()
		}
	})
}

// close closes the idle connections. Those in use are closed when they are put back.
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
