// SPDX-License-Identifier: Apache-2.0

package fairshare

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A client asks from an address, and counts the answers.
type client struct {
	test.ResponseWriter
	addr    net.Addr
	answers int
}

func (c *client) RemoteAddr() net.Addr { return c.addr }

func (c *client) WriteMsg(*dns.Msg) error {
	c.answers++
	return nil
}

func udp(ip string) net.Addr { return &net.UDPAddr{IP: net.ParseIP(ip), Port: 4242} }

// asleep is a plugin behind the tested one. It reports each question, and answers when it is woken.
type asleep struct {
	arrived, wake chan struct{}
	wg            sync.WaitGroup
}

func newAsleep() *asleep { return &asleep{arrived: make(chan struct{}), wake: make(chan struct{})} }

func (s *asleep) handler() plugin.Handler {
	return plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		s.arrived <- struct{}{}
		<-s.wake
		return dns.RcodeSuccess, w.WriteMsg(r)
	})
}

// fill lets n questions of one client wait.
func (s *asleep) fill(t *testing.T, f *Fairshare, addr net.Addr, n int) {
	t.Helper()
	for range n {
		s.wg.Go(func() { _, _ = ask(f, &client{addr: addr}) })
		select {
		case <-s.arrived:
		case <-time.After(5 * time.Second):
			t.Fatalf("a question of %s does not arrive", addr)
		}
	}
}

func (s *asleep) end() {
	close(s.wake)
	s.wg.Wait()
}

func ask(f *Fairshare, c *client) (int, error) {
	return f.ServeDNS(context.Background(), c, new(dns.Msg).SetQuestion("a.test.", dns.TypeA))
}

func TestWhoHasItsShareIsRefused(t *testing.T) {
	s, f := newAsleep(), New("share.test.", 8)
	f.Next = s.handler()
	s.fill(t, f, udp("10.0.0.1"), 8)
	refused := func(addr net.Addr, reason string) {
		t.Helper()
		before := testutil.ToFloat64(refusedTotal.WithLabelValues("share.test.", reason))
		c := &client{addr: addr}
		code, err := ask(f, c)
		if code != dns.RcodeServerFailure || err != nil || c.answers > 0 {
			t.Errorf("%s: %d, %v and %d answers, want SERVFAIL, without an error, by the server", addr, code, err, c.answers)
		}
		if n := testutil.ToFloat64(refusedTotal.WithLabelValues("share.test.", reason)) - before; n != 1 {
			t.Errorf("%s: %g refusals for reason %s", addr, n, reason)
		}
	}
	refused(udp("10.0.0.1"), "full")
	s.fill(t, f, udp("10.0.0.2"), 1)
	refused(udp("10.0.0.1"), "share")
	refused(&net.TCPAddr{IP: net.ParseIP("::ffff:10.0.0.1")}, "share") // over another transport, at another kind of socket
	s.fill(t, f, &net.TCPAddr{}, 1)                                    // the server itself is one more client
	refused(udp("10.0.0.3"), "full")
	if n := testutil.ToFloat64(waiting.WithLabelValues("share.test.")); n != 10 {
		t.Errorf("%g questions wait, want 10", n)
	}
	s.end()
	if n := testutil.ToFloat64(waiting.WithLabelValues("share.test.")); n != 0 {
		t.Errorf("%g questions wait when all are answered", n)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]struct {
		most int
		err  string
	}{
		"fairshare":                {1000, ""},
		"fairshare 1":              {1, ""},
		"fairshare 250":            {250, ""},
		"fairshare 0":              {0, `"0": want a number of questions, from 1 to 1048576`},
		"fairshare 2000000":        {0, `"2000000": want a number`},
		"fairshare many":           {0, `"many": want a number`},
		"fairshare 1 2":            {0, "want one number at most, got 2"},
		"fairshare {\n per 1\n}":   {0, `unknown option "per": there are none`},
		"fairshare\nfairshare 250": {0, "given twice in one server block"},
	} {
		most, err := parse(caddy.NewTestController("dns", text))
		if want.err == "" && (err != nil || most != want.most) || want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)) {
			t.Errorf("%q: %d, %v; want %d, %q", text, most, err, want.most, want.err)
		}
	}
}
