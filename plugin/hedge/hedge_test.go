// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAnswer(t *testing.T) {
	s := serve(t, answersAll)
	h := hedge(t, nil, s.addr)
	for i := range 100 {
		m, rcode, err := ask(h, fmt.Sprintf("N%d.example.org.", i))
		if err != nil || rcode != dns.RcodeSuccess || m == nil || len(m.Answer) != 1 {
			t.Fatalf("%v %d %v", m, rcode, err)
		}
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("100 questions, one after the other, took %d connections", n)
	}
	if n := testutil.ToFloat64(attemptsTotal.WithLabelValues(s.addr, "first")); n != 100 {
		t.Errorf("%g first attempts", n)
	}
}

// TestOtherZone asks for a name outside the zone: the next plugin gets the question.
func TestOtherZone(t *testing.T) {
	h := hedge(t, func(o *options) { o.From = "example.org." }, "127.0.0.1:1")
	if _, rcode, err := ask(h, "example.net."); rcode != dns.RcodeNotImplemented || err != nil {
		t.Errorf("%d %v", rcode, err)
	}
}

// TestManners asks servers with faults.
func TestManners(t *testing.T) {
	fail := func(rcode int) manner {
		return func(_ int, q *dns.Msg) ([]*dns.Msg, bool) { return []*dns.Msg{new(dns.Msg).SetRcode(q, rcode)}, true }
	}
	firstOnly := func(first manner) manner {
		return func(n int, q *dns.Msg) ([]*dns.Msg, bool) {
			if n == 0 {
				return first(n, q)
			}
			return answersAll(n, q)
		}
	}
	closes := func(int, *dns.Msg) ([]*dns.Msg, bool) { return nil, false }
	for _, c := range []struct {
		name   string
		manner manner
		rcode  int    // of the answer; -1: none
		err    string // part of the error
		least  time.Duration
		most   time.Duration
	}{
		{"silent on the first connection", firstOnly(silentAlways), dns.RcodeSuccess, "", 20 * time.Millisecond, 3 * time.Second},
		{"closes the first connection", firstOnly(closes), dns.RcodeSuccess, "", 0, 3 * time.Second},
		{"silent", silentAlways, -1, "no answer from", 5 * time.Second, 8 * time.Second},
		{"closes each connection", closes, -1, "asking", 0, 3 * time.Second},
		{"says NXDOMAIN", fail(dns.RcodeNameError), dns.RcodeNameError, "", 0, 3 * time.Second},
		{"says SERVFAIL", fail(dns.RcodeServerFailure), dns.RcodeServerFailure, "", 0, 3 * time.Second},
		{"says an unknown rcode", fail(14), 14, "", 0, 3 * time.Second},
		{"answers another question", func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
			m := reply(q)
			m.Question[0].Name = "other.example."
			return []*dns.Msg{m}, true
		}, -1, "not to the question", 0, 3 * time.Second},
		{"answers with another ID", func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
			m := reply(q)
			m.Id++
			return []*dns.Msg{m}, true
		}, -1, "not to the question", 0, 3 * time.Second},
		{"sends the question back", func(_ int, q *dns.Msg) ([]*dns.Msg, bool) { return []*dns.Msg{q}, true }, -1, "not to the question", 0, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.manner)
			h := hedge(t, func(o *options) { o.Timeout = 5 * time.Second }, s.addr)
			begin := time.Now()
			m, rcode, err := ask(h, "name.example.")
			took := time.Since(begin)
			switch {
			case c.rcode >= 0 && (m == nil || m.Rcode != c.rcode || rcode != dns.RcodeSuccess || err != nil):
				t.Errorf("got %v, %d, %v", m, rcode, err)
			case c.rcode < 0 && (m != nil || rcode != dns.RcodeServerFailure || err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("got %v, %d, %v", m, rcode, err)
			}
			if took < c.least || took > c.most {
				t.Errorf("took %s", took)
			}
			if n := s.questions.Load(); n > maxAttempts {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestLarge asks for an answer of 60 kB, in a question that has no room in the usual buffer.
func TestLarge(t *testing.T) {
	s := serve(t, func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
		m := reply(q)
		for range 240 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("y", 240)}})
		}
		return []*dns.Msg{m}, true
	})
	h := hedge(t, nil, s.addr)
	for range 3 {
		q := new(dns.Msg).SetQuestion("large.example.", dns.TypeTXT)
		q.SetEdns0(4096, true)
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, 2000)})
		w := &recorder{}
		if _, err := h.ServeDNS(context.Background(), w, q); err != nil || w.msg == nil || len(w.msg.Answer) != 241 {
			t.Fatalf("%v", err)
		}
	}
}

// TestRefused asks at an address at which no process listens.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	h := hedge(t, func(o *options) { o.Timeout = 5 * time.Second }, addr)
	begin := time.Now()
	_, rcode, err := ask(h, "name.example.")
	if rcode != dns.RcodeServerFailure || err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%d %v", rcode, err)
	}
	if took := time.Since(begin); took < refusalPatience || took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestComesBack starts the upstream while a question waits.
func TestComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	h := hedge(t, nil, addr)
	got := make(chan error, 1)
	go func() {
		_, _, err := ask(h, "name.example.")
		got <- err
	}()
	p := h.upstreams[0].pool
	until(t, "a refusal", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.refusals > 0 })
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	go func() {
		if c, err := again.Accept(); err == nil {
			(&server{wg: sync.WaitGroup{}}).one(c)
		}
	}()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// one answers one question.
func (s *server) one(c net.Conn) {
	s.wg.Add(1)
	s.open.Add(1)
	s.connection(c, 0, answersAll, make(chan struct{}))
}

// TestMaxConcurrent sends more questions than may wait.
func TestMaxConcurrent(t *testing.T) {
	s := serve(t, silentAlways)
	h := hedge(t, func(o *options) { o.MaxConcurrent, o.Timeout = 3, 4*time.Second }, s.addr)
	before := testutil.ToFloat64(rejects)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { _, _, _ = ask(h, fmt.Sprintf("n%d.example.", i)) })
	}
	until(t, "three questions", func() bool { return h.waiting.Load() == 3 })
	begin := time.Now()
	_, rcode, err := ask(h, "one-more.example.")
	if rcode != dns.RcodeServerFailure || err == nil || time.Since(begin) > 2*time.Second {
		t.Errorf("%d %v after %s", rcode, err, time.Since(begin))
	}
	wg.Wait()
	if n := testutil.ToFloat64(rejects) - before; n != 1 {
		t.Errorf("%g rejected", n)
	}
	if h.waiting.Load() != 0 {
		t.Error("a place was not given back")
	}
}

// TestCanceled ends the client's context.
func TestCanceled(t *testing.T) {
	for _, manner := range []manner{silentAlways} {
		s := serve(t, manner)
		h := hedge(t, func(o *options) { o.Timeout = time.Minute }, s.addr)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := h.ServeDNS(ctx, &recorder{}, new(dns.Msg).SetQuestion("name.example.", dns.TypeA))
			done <- err
		}()
		until(t, "a second attempt", func() bool { return s.questions.Load() > 1 })
		cancel()
		if err := <-done; err == nil {
			t.Error("no error")
		}
		until(t, "all connections closed", func() bool { return s.open.Load() == 0 })
	}
}

// TestOtherUpstream has a first upstream that is silent: the second one answers.
func TestOtherUpstream(t *testing.T) {
	a, b := serve(t, silentAlways), serve(t, answersAll)
	h := hedge(t, nil, a.addr, b.addr)
	for i := range 10 {
		if m, _, err := ask(h, fmt.Sprintf("n%d.example.", i)); err != nil || m == nil {
			t.Error(err)
		}
	}
	if n := testutil.ToFloat64(winsTotal.WithLabelValues(b.addr)); n == 0 {
		t.Error("no attempt beside the first has won")
	}
}

// TestOverload sends 1,000 questions a second to a server that answers 500: all answers are late, and none is lost.
func TestOverload(t *testing.T) {
	const questions, rate = 4000, 1000
	var mu sync.Mutex // one at a time
	s := serve(t, func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
		mu.Lock()
		defer mu.Unlock()
		time.Sleep(time.Second / 500) // what it takes to answer
		return []*dns.Msg{reply(q)}, true
	})
	h := hedge(t, func(o *options) { o.After, o.Timeout = 50*time.Millisecond, 3*time.Second }, s.addr)
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range questions {
		<-tick.C
		wg.Go(func() { _, _, _ = ask(h, fmt.Sprintf("n%d.example.", i)) })
	}
	wg.Wait()
	if n := s.questions.Load(); n > questions*105/100 {
		t.Errorf("the server was asked %d times for %d questions", n, questions)
	}
	if testutil.ToFloat64(exhaustedTotal.WithLabelValues(s.addr)) == 0 {
		t.Error("the budget was never used up")
	}
	t.Logf("asked %d times for %d questions", s.questions.Load(), questions)
}

// TestNothingLeft counts connections after many questions to a server that answers half of them.
func TestNothingLeft(t *testing.T) {
	s := serve(t, func(n int, q *dns.Msg) ([]*dns.Msg, bool) {
		if n%2 == 0 {
			return nil, true
		}
		return []*dns.Msg{reply(q)}, true
	})
	h := hedge(t, nil, s.addr)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { _, _, _ = ask(h, fmt.Sprintf("n%d.example.", i)) })
	}
	wg.Wait()
	h.close()
	until(t, "all connections closed", func() bool { return s.open.Load() == 0 })
}
