// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

// A crowd asks the same question many times at once of a handler without the plugin cache.
type crowd struct {
	k     *Keep
	asked atomic.Int64
	hold  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	told  []string
}

func newCrowd(t *testing.T, next func(c *crowd, ctx context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error)) *crowd {
	c := &crowd{hold: make(chan struct{})}
	c.k = newKeep(t, "", func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		return next(c, ctx, c.asked.Add(1), w, r)
	})
	return c
}

// ask sends a question from a goroutine.
func (c *crowd) ask(ctx context.Context, name string) {
	c.wg.Go(func() {
		w := new(someone)
		r := new(dns.Msg).SetQuestion(name, dns.TypeA)
		code, err := plugin.NextOrFailure("test", c.k, ctx, w, r)
		told := "nothing"
		switch {
		case w.got != nil && (w.got.Id != r.Id || w.got.Question[0].Name != name):
			told = "the answer to another question"
		case w.got != nil:
			told = short(w.got)
			told = strings.Replace(told, " 29", " 30", 1) // from the store
		case !plugin.ClientWrite(code):
			told = dns.RcodeToString[code]
		}
		if err != nil {
			told += " " + err.Error()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, told)
	})
}

// wait returns the number of each answer.
func (c *crowd) wait() map[string]int {
	c.wg.Wait()
	n := map[string]int{}
	for _, s := range c.told {
		n[s]++
	}
	return n
}

func (c *crowd) waiting(t *testing.T, n int) {
	t.Helper()
	before := coalesced()
	for range n {
		c.ask(t.Context(), "a.TEST.")
	}
	eventually(t, "all wait", func() bool { return coalesced()-before >= n })
}

func TestOneQuestionInFlight(t *testing.T) {
	good := address("192.0.2.1", 30)
	for name, test := range map[string]struct {
		next  func(c *crowd, ctx context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error)
		asked int64
		told  map[string]int
	}{
		"an answer": {func(c *crowd, _ context.Context, _ int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			return 0, w.WriteMsg(good(r))
		}, 1, map[string]int{"192.0.2.1 30": 10}},
		"SERVFAIL from upstream": {func(c *crowd, _ context.Context, _ int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			return 0, w.WriteMsg(rcode(dns.RcodeServerFailure, 0)(r))
		}, 1, map[string]int{"SERVFAIL": 10}},
		"an error, which is told once": {func(c *crowd, _ context.Context, _ int64, _ dns.ResponseWriter, _ *dns.Msg) (int, error) {
			<-c.hold
			return dns.RcodeServerFailure, errors.New("no upstream")
		}, 1, map[string]int{"SERVFAIL": 9, "SERVFAIL no upstream": 1}},
		"fairshare refuses the first one, without an error: the next one asks": {func(c *crowd, _ context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			if n == 1 {
				return dns.RcodeServerFailure, nil
			}
			return 0, w.WriteMsg(good(r))
		}, 2, map[string]int{"192.0.2.1 30": 9, "SERVFAIL": 1}},
		"the first one is truncated: each asks for itself": {func(c *crowd, _ context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			m := good(r)
			m.Truncated = n == 1
			return 0, w.WriteMsg(m)
		}, 10, map[string]int{"192.0.2.1 30": 10}},
		"REFUSED": {func(c *crowd, _ context.Context, _ int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			return 0, w.WriteMsg(rcode(dns.RcodeRefused, 0)(r))
		}, 1, map[string]int{"REFUSED": 10}},
		"FORMERR, for what the first one sent beside the question": {func(c *crowd, _ context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			if n == 1 {
				return 0, w.WriteMsg(rcode(dns.RcodeFormatError, 0)(r))
			}
			return 0, w.WriteMsg(good(r))
		}, 10, map[string]int{"192.0.2.1 30": 9, "FORMERR": 1}},
		"another question's answer": {func(c *crowd, _ context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-c.hold
			m := good(r)
			if n == 1 {
				m.Question[0].Qtype = dns.TypeAAAA
			}
			return 0, w.WriteMsg(m)
		}, 10, map[string]int{"192.0.2.1 30": 10}},
		"the first one says nothing": {func(c *crowd, _ context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (code int, err error) {
			<-c.hold
			if n == 1 {
				return 0, nil // says that it wrote, and did not
			}
			return 0, w.WriteMsg(good(r))
		}, 2, map[string]int{"192.0.2.1 30": 9, "nothing": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, test.next)
			c.ask(t.Context(), "A.test.")
			eventually(t, "the first one asks", func() bool { return c.asked.Load() == 1 })
			c.waiting(t, 9)
			close(c.hold)
			told := c.wait()
			for s, n := range test.told {
				if told[s] != n {
					t.Errorf("%q: %d, want %d; %v", s, told[s], n, told)
				}
			}
			if n := c.asked.Load(); n != test.asked {
				t.Errorf("asked %d times, want %d", n, test.asked)
			}
			if len(c.k.flights.m) > 0 {
				t.Error("flights are left")
			}
		})
	}
}

func TestTheOneWhoAsksGivesUp(t *testing.T) {
	c := newCrowd(t, func(c *crowd, ctx context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		if n == 1 {
			<-ctx.Done()
			return dns.RcodeServerFailure, ctx.Err()
		}
		return 0, w.WriteMsg(address("192.0.2.1", 30)(r))
	})
	ctx, cancel := context.WithCancel(t.Context())
	c.ask(ctx, "a.test.")
	eventually(t, "the first one asks", func() bool { return c.asked.Load() == 1 })
	c.waiting(t, 9)
	cancel()
	if told := c.wait(); told["192.0.2.1 30"] != 9 || c.asked.Load() != 2 {
		t.Errorf("%v, asked %d times", told, c.asked.Load())
	}
}

func TestOneWhoWaitsGivesUp(t *testing.T) {
	c := newCrowd(t, func(c *crowd, _ context.Context, _ int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		<-c.hold
		return 0, w.WriteMsg(address("192.0.2.1", 30)(r))
	})
	c.ask(t.Context(), "a.test.")
	eventually(t, "the first one asks", func() bool { return c.asked.Load() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c.ask(ctx, "a.test.")
	eventually(t, "one gives up", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.told) == 1 })
	close(c.hold)
	told := c.wait()
	if told["192.0.2.1 30"] != 1 || told["SERVFAIL context deadline exceeded"] != 1 {
		t.Error(told)
	}
}

func TestAClientJoinsAPrefetch(t *testing.T) {
	c := newCrowd(t, func(c *crowd, _ context.Context, _ int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		<-c.hold
		return 0, w.WriteMsg(address("192.0.2.1", 30)(r))
	})
	r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	a := &asked{k: c.k, ResponseWriter: new(someone), request: r, who: cacheItself}
	a.key.Set(&c.k.block, r)
	c.wg.Go(func() { _, _ = a.serve(t.Context()) })
	eventually(t, "cache asks", func() bool { return c.asked.Load() == 1 })
	c.waiting(t, 3)
	close(c.hold)
	if told := c.wait(); told["192.0.2.1 30"] != 3 || c.asked.Load() != 1 {
		t.Errorf("%v, asked %d times", told, c.asked.Load())
	}
}

// TestAPrefetchGoesUpstream has cache ask on its own: the store does not answer such a question.
func TestAPrefetchGoesUpstream(t *testing.T) {
	u := newUpstream(t)
	m := serve(t, corefile(u, "keep", strings.Replace(plainCache, "success 9984 30", "success 9984 30\n prefetch 1 1m 90%\n serve_stale 1h immediate", 1)))
	u.set(address("192.0.2.1", 1)) // cache makes that 5 s
	m.told("a.test.")
	u.set(address("192.0.2.2", 30))
	// cache asks again within 5 s, or when its answer is out of date. keep has the answer, and passes the question on.
	eventually(t, "the next answer", func() bool { return strings.HasPrefix(m.told("a.test."), "192.0.2.2") })
	if n := u.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// TestAQuestionThatLeadsBackToItself has a plugin below that asks the server for the target of an alias.
func TestAQuestionThatLeadsBackToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, func(c *crowd, ctx context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			if n > 5 { // file and template have a bound, too
				return 0, w.WriteMsg(address("192.0.2.1", 30)(r))
			}
			target := map[string]string{"x.a.": "y.b.", "y.b.": "x.a."}[r.Question[0].Name]
			inner := new(someone)
			if code, err := c.k.ServeDNS(ctx, inner, new(dns.Msg).SetQuestion(target, dns.TypeA)); inner.got == nil {
				return code, err
			}
			m := address("192.0.2.2", 30)(r)
			m.Answer = append([]dns.RR{record4(r.Question[0].Name + " 30 IN CNAME " + target)}, inner.got.Answer...)
			return 0, w.WriteMsg(m)
		})
		begin := time.Now()
		c.ask(t.Context(), "x.a.")
		if told := c.wait(); told["192.0.2.1 30"] != 1 || c.asked.Load() != 6 {
			t.Errorf("%v, asked %d times", told, c.asked.Load())
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("it waited for %s", took)
		}
	})
}

// TestTwoQuestionsThatLeadToEachOther has two clients. Each question needs the answer to the other one.
func TestTwoQuestionsThatLeadToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, func(c *crowd, ctx context.Context, n int64, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			if n > 2 {
				return 0, w.WriteMsg(address("192.0.2.1", 30)(r))
			}
			<-c.hold
			target := map[string]string{"x.a.": "y.b.", "y.b.": "x.a."}[r.Question[0].Name]
			return c.k.ServeDNS(ctx, &renamed{w, r}, new(dns.Msg).SetQuestion(target, dns.TypeA))
		})
		begin := time.Now()
		c.ask(t.Context(), "x.a.")
		c.ask(t.Context(), "y.b.")
		synctest.Wait()
		close(c.hold)
		if told := c.wait(); told["192.0.2.1 30"] != 2 || time.Since(begin) > 0 {
			t.Errorf("%v after %s", told, time.Since(begin))
		}
	})
}

// renamed sends its answer as the answer to another question.
type renamed struct {
	dns.ResponseWriter
	r *dns.Msg
}

func (w *renamed) WriteMsg(*dns.Msg) error {
	return w.ResponseWriter.WriteMsg(address("192.0.2.1", 30)(w.r))
}
