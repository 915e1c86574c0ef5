// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// dialLoop runs while questions wait for a connection. It dials one connection for each waiter. An attempt that lasts longer than
// patience does not count, and another one is made beside it.
func (p *pool) dialLoop() {
	for {
		p.mu.Lock()
		p.refuse()
		if len(p.waiters) == 0 {
			p.dialing = false
			p.mu.Unlock()
			return
		}
		patience := min(max(dialPatience, 3*p.rtt), mostDialPatience)
		now, fresh := time.Now(), 0
		for _, began := range p.dials {
			if now.Sub(began) < patience {
				fresh++
			}
		}
		most := maxDials
		if now.Sub(p.dialed) > silence && len(p.dials) > 0 {
			most = maxSilentDials
		}
		n := min(len(p.waiters)-fresh, most-len(p.dials))
		if p.refusals > atOnce { // one at a time
			n = min(n, 1-len(p.dials))
			if now.Sub(p.refused) < dialPatience {
				n = 0
			}
		}
		for ; n > 0; n-- {
			p.dials = append(p.dials, now)
			go p.dialFor(now)
		}
		p.mu.Unlock()
		select {
		case <-time.After(patience):
		case <-p.wake:
		}
	}
}

// refuse returns the refusal to waiters that have waited for refusalPatience while the upstream refused all connections.
func (p *pool) refuse() {
	for p.refusals > atOnce && len(p.waiters) > 0 && time.Since(p.waiters[0].since) > refusalPatience {
		p.waiters[0].got <- grant{err: p.refusal}
		p.waiters = p.waiters[1:]
	}
}

// dialFor establishes a connection, and gives it to the first waiter.
func (p *pool) dialFor(began time.Time) {
	c, err := p.dial()
	var timeout net.Error
	p.mu.Lock()
	i := slices.Index(p.dials, began)
	p.dials = slices.Delete(p.dials, i, i+1)
	switch {
	case err == nil:
		p.refusals, p.dialed = 0, time.Now()
		took := min(time.Since(began), mostDialTimeout)
		p.rtt = cmp.Or(p.rtt, took)
		p.rtt += (took - p.rtt) / 8
	case errors.As(err, &timeout) && timeout.Timeout():
		p.refusals = 0
	default:
		p.refusals++
		p.refused = time.Now()
		p.refusal = err
	}
	again := p.refusals > 0 && p.refusals <= atOnce
	p.mu.Unlock()
	if err == nil {
		p.put(c)
	} else if again {
		p.wakeUp()
	}
}

func (p *pool) dial() (*conn, error) {
	p.mu.Lock()
	d := p.dialer
	d.Timeout = mostDialTimeout
	if p.rtt > 0 && time.Since(p.dialed) < silence {
		d.Timeout = min(max(leastDialTimeout, 10*p.rtt), mostDialTimeout)
	}
	p.mu.Unlock()
	began := time.Now()
	c, err := d.Dial("tcp", p.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return newConn(c.(*net.TCPConn), time.Since(began)), nil
}

// renew replaces a connection that is older than maxAge, so that new pods of the Service get questions, too. The old connection
// stays in use until the new one is established.
func (p *pool) renew(old *conn) {
	fresh, err := p.dial()
	p.mu.Lock()
	p.renewing = false
	if err == nil {
		old.retired = true
	} else {
		old.born = time.Now().Add(expire - p.maxAge) // renew tries again after expire
	}
	p.mu.Unlock()
	if err == nil {
		p.put(fresh)
	}
}
