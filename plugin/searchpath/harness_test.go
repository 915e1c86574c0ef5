// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
)

const testZone = "cluster.local."

// clusterDNS stands for a cluster DNS that follows RFC 8020: a name exists if it has an address, or one below it has.
// All of it runs in synctest's bubbles, whose clock is the test's.
type clusterDNS struct {
	mu       sync.Mutex
	names    map[string]bool                      // that have an A record; in front of the zone
	override map[string]func(r *dns.Msg) *dns.Msg // by name and by "name TYPE"; nil: no answer, but an error
	asked    []string                             // "name TYPE", in front of the zone
	delay    time.Duration
	slow     map[string]time.Duration // by "name TYPE", instead of delay
	ttl      uint32
}

func newClusterDNS(names ...string) *clusterDNS {
	c := &clusterDNS{names: map[string]bool{}, override: map[string]func(*dns.Msg) *dns.Msg{}, slow: map[string]time.Duration{}, delay: time.Millisecond, ttl: 5}
	for _, n := range append(names, "kubernetes.default.svc") {
		c.names[n] = true
	}
	return c
}

func (c *clusterDNS) Name() string { return "clusterdns" }

func (c *clusterDNS) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	name := strings.TrimSuffix(strings.ToLower(r.Question[0].Name), "."+testZone)
	kind := dns.TypeToString[r.Question[0].Qtype]
	c.mu.Lock()
	c.asked = append(c.asked, name+" "+kind)
	delay := c.delay
	if d, ok := c.slow[name+" "+kind]; ok {
		delay = d
	}
	c.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return dns.RcodeServerFailure, ctx.Err()
	}
	if m := c.answer(name, kind, r); m != nil {
		return dns.RcodeSuccess, w.WriteMsg(m)
	}
	return dns.RcodeServerFailure, errors.New("no answer")
}

func (c *clusterDNS) answer(name, kind string, r *dns.Msg) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range []string{name, name + " " + kind} {
		if f, ok := c.override[key]; ok {
			return f(r)
		}
	}
	m := denyMsg(r, testZone, c.ttl)
	for n := range c.names {
		if n == name || strings.HasSuffix(n, "."+name) {
			m.Rcode = dns.RcodeSuccess
		}
	}
	if c.names[name] && kind == "A" {
		m.Answer, m.Ns = []dns.RR{test.A(r.Question[0].Name + " 5 IN A 10.96.0.1")}, nil
	}
	return m
}

// set creates or deletes a name.
func (c *clusterDNS) set(name string, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] = exists; !exists {
		delete(c.names, name)
	}
}

func (c *clusterDNS) say(key string, f func(r *dns.Msg) *dns.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.override[key] = f
}

// takeAsked returns the questions since the last call, after all of them have ended.
func (c *clusterDNS) takeAsked() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

func data(r *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(r)
	m.Answer = []dns.RR{test.A(r.Question[0].Name + " 5 IN A 192.0.2.7")}
	return m
}

func noAnswer(*dns.Msg) *dns.Msg { return nil }

func rcode(code int) func(r *dns.Msg) *dns.Msg {
	return func(r *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(r, code) }
}

// node is a client of the plugin.
type node struct {
	t       *testing.T
	up      *clusterDNS
	plugin  *Searchpath
	handler plugin.Handler // the plugin, or one in front of it
}

// bubble runs f with a plugin of its own, and closes the plugin.
func bubble(t *testing.T, names []string, f func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, up: newClusterDNS(names...), plugin: New([]string{testZone}, true)}
		n.plugin.Next, n.handler = n.up, n.plugin
		defer n.plugin.Close()
		if err := n.plugin.Start(); err != nil {
			t.Fatal(err)
		}
		f(n)
	})
}

func query(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name+"."+testZone, qtype)
}

// send returns the answer to r; nil if there is none.
func (n *node) send(r *dns.Msg) *dns.Msg {
	w := new(capture.Writer)
	if _, err := n.handler.ServeDNS(context.Background(), w, r); err != nil {
		return nil
	}
	return w.Msg
}

// ask returns the RCODE of the answer for name, which stands in front of the zone; -1 if there is none.
func (n *node) ask(name string, qtype uint16) int {
	if m := n.send(query(name, qtype)); m != nil {
		return m.Rcode
	}
	return -1
}

// want asks, waits until nothing is under way, and compares what the cluster DNS was asked.
func (n *node) want(name string, qtype uint16, code int, asked ...string) {
	n.t.Helper()
	if got := n.ask(name, qtype); got != code {
		n.t.Errorf("%s: rcode %d, want %d", name, got, code)
	}
	n.wantAsked(asked...)
}

func (n *node) wantAsked(want ...string) {
	n.t.Helper()
	time.Sleep(100 * time.Millisecond) // of the bubble's clock
	if got := n.up.takeAsked(); !slices.Equal(got, want) {
		n.t.Errorf("asked %q, want %q", got, want)
	}
}

// noAudits keeps audits out of a test that counts questions.
func (n *node) noAudits() {
	for _, z := range n.plugin.zones {
		z.audits = bucket{}
	}
}

// setSlow makes one question take longer.
func (c *clusterDNS) setSlow(key string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow[key] = d
}
