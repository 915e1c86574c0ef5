// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"net"
	"sync"
	"testing"
	"time"
)

func testPool(addr string, maxAge time.Duration) *pool {
	m := newMetrics(addr)
	return newPool(addr, maxAge, m.hits, m.misses)
}

func take(t *testing.T, p *pool) *conn {
	t.Helper()
	c, err := p.get(time.Time{}, time.Now().Add(5*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer puts c back after an answer.
func answer(p *pool, c *conn) {
	c.answered = time.Now()
	p.put(c)
}

// age makes c older than the bound.
func age(p *pool, c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.born = time.Now().Add(-2 * time.Hour)
}

func TestLatestFirst(t *testing.T) {
	s := serve(t, answersAll)
	p := testPool(s.addr, 0)
	defer p.close()
	a, b := take(t, p), take(t, p)
	answer(p, a)
	answer(p, b)
	if got := take(t, p); got != b {
		t.Error("not the one that answered last")
	}
	answer(p, b)
	since := time.Now()
	c, err := p.get(since, time.Now().Add(5*time.Second), nil)
	if err != nil || c == a || c == b {
		t.Errorf("%v: an idle one that has not answered since", err)
	}
	answer(p, c)
	if got, err := p.get(since, time.Now().Add(time.Second), nil); err != nil || got != c {
		t.Errorf("%v: not the one that has answered since", err)
	}
}

func TestExpired(t *testing.T) {
	s := serve(t, answersAll)
	p := testPool(s.addr, 0)
	defer p.close()
	a, b := take(t, p), take(t, p)
	p.put(a)
	p.put(b)
	for _, c := range []*conn{a, b} {
		c.answered = time.Now().Add(-expire - time.Second)
	}
	if c := take(t, p); c == a || c == b {
		t.Error("one that has expired")
	}
	until(t, "the expired are closed", func() bool { return s.open.Load() == 1 })
}

// TestHandedOver has more questions than connections: the first waiter gets each connection that is put back.
func TestHandedOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	p := testPool(addr, 0)
	c := take(t, p)
	l.Close() // no other connection can be had
	got := make(chan *conn, 1)
	go func() {
		c, _ := p.get(time.Time{}, time.Now().Add(5*time.Second), nil)
		got <- c
	}()
	until(t, "a waiter", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.waiters) == 1 })
	p.put(c)
	if <-got != c {
		t.Error("not handed over")
	}
	c.abort()
}

// TestGivesUp ends the wait by the deadline and by the client.
func TestGivesUp(t *testing.T) {
	p := testPool("192.0.2.1:53", 0) // documentation, RFC 5737: nobody is asked, as the dialer below fails by its deadline
	p.dialer.Deadline = time.Unix(1, 0)
	defer p.close()
	if _, err := p.get(time.Time{}, time.Now().Add(20*time.Millisecond), nil); !timedOut(err) {
		t.Error(err)
	}
	done := make(chan struct{})
	close(done)
	if _, err := p.get(time.Time{}, time.Now().Add(time.Minute), done); err == nil {
		t.Error("no error")
	}
	until(t, "the end of dialing", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return !p.dialing && len(p.dials) == 0 })
}

// TestDialsAreBounded has many questions wait for a server that accepts no connection.
func TestDialsAreBounded(t *testing.T) {
	p := testPool("192.0.2.1:53", 0)
	p.dialer.Deadline = time.Unix(1, 0)
	defer p.close()
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() { _, _ = p.get(time.Time{}, time.Now().Add(200*time.Millisecond), nil) })
	}
	most := 0
	until(t, "the end", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		most = max(most, len(p.dials))
		return !p.dialing
	})
	wg.Wait()
	if most > maxDials {
		t.Errorf("%d at a time", most)
	}
}

// TestRenewed replaces a connection that is too old. No question waits meanwhile.
func TestRenewed(t *testing.T) {
	s := serve(t, answersAll)
	p := testPool(s.addr, time.Hour)
	defer p.close()
	old := take(t, p)
	age(p, old)
	answer(p, old)
	until(t, "the new one", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return !p.renewing && len(p.idle) == 2 })
	if c := take(t, p); c == old {
		t.Error("the old one is used")
	}
	if c := take(t, p); c == old {
		t.Error("the old one is used")
	}
	until(t, "the old one is closed", func() bool { return s.open.Load() == 2 })
}

// TestNotRenewed keeps an old connection when there is no new one.
func TestNotRenewed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := testPool(l.Addr().String(), time.Hour)
	defer p.close()
	old := take(t, p)
	l.Close()
	age(p, old)
	answer(p, old)
	until(t, "the end of the attempt", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return !p.renewing })
	if c := take(t, p); c != old {
		t.Error("another one")
	}
}

func TestBudget(t *testing.T) {
	b := newBudgets()
	slow, lost := 0, 0
	for range 1000 {
		b.earn()
		for b.spend(false) {
			slow++
		}
		for b.spend(true) {
			lost++
		}
	}
	if slow < 60 || slow > 62 { // the first 32, and 3 of 100
		t.Errorf("%d attempts beside acknowledged ones for 1000 questions", slow)
	}
	if lost < 1127 || lost > 1129 { // the first 128, and one for each question
		t.Errorf("%d attempts beside lost ones for 1000 questions", lost)
	}
}
