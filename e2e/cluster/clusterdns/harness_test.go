// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/rewrite" // names below denied ones
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/kubeapi"
	"github.com/nodelocaldns/nodelocaldns/plugin/searchpath"
)

// The tests have two clocks. CoreDNS with the kubernetes plugin runs on the machine's, as it talks to an API server.
// The plugin searchpath, and the cache in front of it, run in a bubble of synctest, and ask CoreDNS by a call.

const zone = "cluster.local."

// grabbed is the server that a Corefile with the directive grab makes.
var grabbed atomic.Pointer[dnsserver.Server]

func TestMain(m *testing.M) {
	dnsserver.Directives = append([]string{"grab"}, dnsserver.Directives...)
	caddy.Quiet, dnsserver.Quiet = true, true
	plugin.Register("grab", func(c *caddy.Controller) error {
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
			return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
				if s, ok := ctx.Value(dnsserver.Key{}).(*dnsserver.Server); ok {
					grabbed.Store(s)
				}
				return next.ServeDNS(ctx, w, r)
			})
		})
		return nil
	})
	os.Exit(m.Run())
}

// cluster is a CoreDNS with its API server.
type cluster struct {
	*kubeapi.API
	server *dnsserver.Server
	asked  atomic.Int64  // questions, but for those of answer
	delay  time.Duration // of an answer
}

// startCluster runs CoreDNS. extra are lines of its Corefile's server block, options those of kubernetes.
func startCluster(t *testing.T, extra, options string, fill func(a *kubeapi.API)) *cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{API: kubeapi.Start(t, l)}
	fill(c.API)
	corefile := fmt.Sprintf(".:0 {\n bind 127.0.0.1\n grab\n %s\n kubernetes cluster.local clusterset.local in-addr.arpa {\n endpoint %s\n %s\n }\n}", extra, c.URL, options)
	instance, err := caddy.Start(caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(corefile), ServerTypeName: "dns"})
	if err != nil {
		t.Fatalf("%v\n%s", err, corefile)
	}
	t.Cleanup(func() {
		instance.ShutdownCallbacks()
		instance.Stop()
	})
	var addr net.Addr
	for _, s := range instance.Servers() {
		if s.LocalAddr() != nil {
			addr = s.LocalAddr()
		}
	}
	grabbed.Store(nil)
	q := new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA)
	if _, _, err := new(dns.Client).Exchange(q, addr.String()); err != nil {
		t.Fatal(err)
	}
	c.server = grabbed.Load()
	return c
}

func (c *cluster) Name() string { return "cluster" }

// ServeDNS implements plugin.Handler: it takes the place of forward.
func (c *cluster) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	c.asked.Add(1)
	time.Sleep(c.delay)
	m := c.answer(ctx, r)
	return dns.RcodeSuccess, w.WriteMsg(m)
}

// writer keeps an answer.
type writer struct {
	dns.ResponseWriter
	msg *dns.Msg
}

func (w *writer) WriteMsg(m *dns.Msg) error {
	w.msg = m
	return nil
}
func (w *writer) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (w *writer) LocalAddr() net.Addr  { return w.RemoteAddr() }

// answer is what CoreDNS says, as it comes over the network.
func (c *cluster) answer(ctx context.Context, r *dns.Msg) *dns.Msg {
	w := new(writer)
	c.server.ServeDNS(context.WithValue(context.WithValue(ctx, dnsserver.Key{}, c.server), dnsserver.LoopKey{}, 0), w, r.Copy())
	return overNetwork(w.msg)
}

func overNetwork(m *dns.Msg) *dns.Msg {
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	m = new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		panic(err)
	}
	return m
}

// within waits on the machine's clock until CoreDNS answers name with code.
func (c *cluster) within(t *testing.T, name string, code int) {
	for range 1000 {
		if c.answer(context.Background(), ask(name, dns.TypeA)).Rcode == code {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s is not %s after 10 s", name, dns.RcodeToString[code])
}

func ask(name string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name+"."+zone, qtype) }

// send returns the answer of h, as a server writes it.
func send(h plugin.Handler, r *dns.Msg) *dns.Msg {
	w := new(writer)
	r = r.Copy()
	if code, err := h.ServeDNS(context.Background(), request.NewScrubWriter(r, w), r); err != nil || w.msg == nil {
		panic(fmt.Sprint(code, err))
	}
	return overNetwork(w.msg)
}

// text is all of an answer but for its ID and the TTL of a denial's SOA. Of the SOA the spelling is left out, too:
// CoreDNS writes the zone as the query did, and a cache gives everybody what the first query got.
func text(m *dns.Msg) string {
	m = m.Copy()
	m.Id = 0
	var parts []string
	for _, rr := range m.Answer {
		parts = append(parts, rr.String())
	}
	slices.Sort(parts)
	for _, rr := range slices.Concat(m.Ns, m.Extra) {
		if rr.Header().Rrtype == dns.TypeSOA {
			rr.Header().Ttl = 0
			parts = append(parts, strings.ToLower(rr.String()))
			continue
		}
		parts = append(parts, rr.String())
	}
	return fmt.Sprintf("%s%v\n%s", m.MsgHdr.String(), m.Question, strings.Join(parts, "\n"))
}

// bubble runs f with the plugin in front of c. outside runs a function on the machine's clock.
func bubble(t *testing.T, c *cluster, f func(t *testing.T, h plugin.Handler, outside func(func()))) {
	t.Helper()
	jobs, done := make(chan func()), make(chan struct{})
	go func() {
		for job := range jobs {
			job()
			done <- struct{}{}
		}
	}()
	defer close(jobs)
	synctest.Test(t, func(t *testing.T) {
		s := searchpath.New([]string{zone, "clusterset.local."}, true)
		s.Next = c
		defer s.Close()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		f(t, s, func(job func()) {
			synctest.Wait()
			jobs <- job
			<-done
		})
	})
}
