// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
)

// hole returns an address at which connections are never established: the queue of its socket is full.
func hole(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

// refuses returns an address at which no process listens.
func refuses(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestHole asks a single upstream that is a hole: every question ends in its time, also the first one.
func TestHole(t *testing.T) {
	h := hedge(t, nil, hole(t))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			begin := time.Now()
			_, rcode, err := ask(h, fmt.Sprintf("n%d.example.", i))
			if took := time.Since(begin); rcode != dns.RcodeServerFailure || err == nil || took < 900*time.Millisecond || took > 2500*time.Millisecond {
				t.Errorf("%d, %v after %s", rcode, err, took)
			}
		})
	}
	wg.Wait()
}

// TestOneOfSeveral has several upstreams, of which one or two do not work.
func TestOneOfSeveral(t *testing.T) {
	good := serve(t, answersAll).addr
	for name, to := range map[string][]string{
		"a hole": {hole(t), good}, "refuses": {refuses(t), good}, "silent": {serve(t, silentAlways).addr, good},
		"a silent one and a hole": {good, serve(t, silentAlways).addr, hole(t)}, "two holes": {hole(t), hole(t), good},
	} {
		t.Run(name, func(t *testing.T) {
			h := hedge(t, func(o *options) { o.Timeout = 4 * time.Second }, to...)
			var took []time.Duration
			for i := range 6 {
				begin := time.Now()
				if m, _, err := ask(h, fmt.Sprintf("n%d.example.", i)); err != nil || m == nil {
					t.Errorf("%v after %s", err, time.Since(begin))
				}
				took = append(took, time.Since(begin))
			}
			if slices.Sort(took); took[3] > 700*time.Millisecond || took[5] > 3*time.Second { // a busy machine may be late
				t.Errorf("the answers took %s", took)
			}
		})
	}
}

// TestRefusedByAll counts the attempts to connect while many clients ask an upstream that refuses.
func TestRefusedByAll(t *testing.T) {
	h := hedge(t, nil, refuses(t))
	p := h.upstreams[0].pool
	var dials atomic.Int64 // a late one may still be under way at the end
	p.dialer.Control = func(string, string, syscall.RawConn) error { dials.Add(1); return nil }
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range 300 {
		wg.Go(func() { _, _, _ = ask(h, fmt.Sprintf("n%d.example.", i)) })
	}
	wg.Wait()
	if most := maxDials + 10 + int64(2*time.Since(begin)/dialPatience); dials.Load() > most {
		t.Errorf("%d connections tried in %s, want %d at most", dials.Load(), time.Since(begin), most)
	}
}

// TestCloseServesThoseWhoWait closes the upstream, as a reload does, while questions are on their way.
func TestCloseServesThoseWhoWait(t *testing.T) {
	s := serve(t, func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
		time.Sleep(5 * time.Millisecond) // what it takes to answer
		return []*dns.Msg{reply(q)}, true
	})
	h := hedge(t, func(o *options) { o.Timeout = 5 * time.Second }, s.addr)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if m, _, err := ask(h, fmt.Sprintf("n%d.example.", i)); err != nil || m == nil {
				t.Error(err)
			}
		})
	}
	until(t, "questions", func() bool { return h.waiting.Load() > 50 })
	h.close()
	wg.Wait()
	if n := s.connections.Load(); n > 400 {
		t.Errorf("%d connections for 200 questions", n)
	}
	until(t, "all connections closed", func() bool { return s.open.Load() == 0 })
}

// TestFailureIsNotHeldBack has no answer on the first connection, and SERVFAIL on the others.
func TestFailureIsNotHeldBack(t *testing.T) {
	s := serve(t, func(n int, q *dns.Msg) ([]*dns.Msg, bool) {
		if n == 0 {
			return nil, true
		}
		return []*dns.Msg{new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)}, true
	})
	h := hedge(t, func(o *options) { o.Timeout = 5 * time.Second }, s.addr)
	begin := time.Now()
	m, _, err := ask(h, "fails.example.")
	if err != nil || m == nil || m.Rcode != dns.RcodeServerFailure || time.Since(begin) > 3*time.Second || s.questions.Load() > 4 {
		t.Errorf("%v, %v after %s and %d questions", m, err, time.Since(begin), s.questions.Load())
	}
}

// TestLateMessage has a server that sends a second message to each question: the next question must get its own answer.
func TestLateMessage(t *testing.T) {
	s := serve(t, func(_ int, q *dns.Msg) ([]*dns.Msg, bool) { return []*dns.Msg{reply(q), reply(q)}, true })
	h := hedge(t, nil, s.addr)
	for i := range 20 {
		if m, _, err := ask(h, fmt.Sprintf("n%d.example.", i)); err != nil || m.Question[0].Name != fmt.Sprintf("n%d.example.", i) {
			t.Errorf("%v %v", m, err)
		}
	}
}

// TestMessageMayChange changes the message of the client after the answer, while another attempt goes on.
func TestMessageMayChange(t *testing.T) {
	s := serve(t, func(n int, q *dns.Msg) ([]*dns.Msg, bool) {
		if n == 0 {
			time.Sleep(100 * time.Millisecond) // later than the second attempt's answer
		}
		return []*dns.Msg{reply(q)}, true
	})
	h := hedge(t, nil, s.addr)
	q := new(dns.Msg).SetQuestion("name.example.", dns.TypeA)
	if _, err := h.ServeDNS(context.Background(), &test.ResponseWriter{}, q); err != nil {
		t.Fatal(err)
	}
	q.Question[0].Name, q.Id = "other.example.", 1
	until(t, "the first connection is idle again", func() bool {
		p := h.upstreams[0].pool
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 2
	})
}

// TestGauge begins a configuration, replaces it, and removes an upstream.
func TestGauge(t *testing.T) {
	a, b := newUpstream("192.0.2.77:53", ".", 0), newUpstream("192.0.2.77:53", ".", 0)
	value := func() (float64, int) {
		return testutil.ToFloat64(upstreamUp.WithLabelValues("192.0.2.77:53")), testutil.CollectAndCount(upstreamUp)
	}
	_ = a.start()
	gauges.set(a.addr, 0)
	_ = b.start()
	a.close()
	a.close() // each directive does
	v, n := value()
	if v != 1 {
		t.Errorf("%g of an upstream that the next configuration has", v)
	}
	newUpstream("192.0.2.77:53", ".", 0).close() // of a configuration that never served
	if v, _ := value(); v != 1 {
		t.Errorf("%g after a configuration that never served", v)
	}
	b.close()
	if left := testutil.CollectAndCount(upstreamUp); left != n-1 {
		t.Errorf("%d gauges, %d before the last configuration with the upstream went", left, n)
	}
	gauges.set(b.addr, 0)
	if left := testutil.CollectAndCount(upstreamUp); left != n-1 {
		t.Error("the gauge came again")
	}
}
