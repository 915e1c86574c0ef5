// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/rewrite"

	_ "github.com/nodelocaldns/nodelocaldns/plugin/packetcache"

	"github.com/miekg/dns"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestMain orders the plugins as plugin.cfg does.
func TestMain(m *testing.M) {
	shared.Now = func() int64 { return store.Boottime() + skew.Load() }
	dnsserver.Directives = []string{"packetcache", "bind", "rewrite", "cache", "keep", "forward"}
	dnsserver.Quiet, caddy.Quiet = true, true
	os.Exit(m.Run())
}

// An upstream answers questions in this process, and counts them.
type upstream struct {
	addr   string
	asked  atomic.Int64
	mu     sync.Mutex
	answer func(r *dns.Msg) *dns.Msg // nil: nothing is said
	hold   chan struct{}             // closed: answers go out
}

// newUpstream starts an upstream that answers 192.0.2.1 with a TTL of 30 s.
func newUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{answer: address("192.0.2.1", 30)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.addr = ln.Addr().String()
	server := &dns.Server{Listener: ln, Handler: u, MaxTCPQueries: -1}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return u
}

// set changes the answer of the upstream.
func (u *upstream) set(answer func(*dns.Msg) *dns.Msg) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

func (u *upstream) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	if r.Question[0].Qtype != dns.TypeNS { // forward's health check
		u.asked.Add(1)
	}
	u.mu.Lock()
	answer, hold := u.answer, u.hold
	u.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if m := answer(r); m != nil {
		_ = w.WriteMsg(m)
	}
}

// silence gives no answer.
func silence(*dns.Msg) *dns.Msg { return nil }

// address answers with an address.
func address(ip string, ttl int) func(*dns.Msg) *dns.Msg {
	return func(r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
		m.Answer = []dns.RR{record4(fmt.Sprintf("%s %d IN A %s", r.Question[0].Name, ttl, ip))}
		return m
	}
}

// rcode answers with code, and with a SOA if there is a TTL.
func rcode(code, ttl int) func(*dns.Msg) *dns.Msg {
	return func(r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(r, code)
		if ttl > 0 {
			m.Ns = []dns.RR{record4(fmt.Sprintf("test. %d IN SOA ns.test. root.test. 1 7200 900 1209600 %d", ttl, ttl))}
		}
		return m
	}
}

func record4(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

// A machine is a server in this process. It can reload, end and start again.
type machine struct {
	t    testing.TB
	addr string
	inst *caddy.Instance
}

// serve starts a server. PORT in text is its port.
func serve(t testing.TB, text string) *machine {
	t.Helper()
	m := &machine{t: t, addr: freePort(t)}
	m.start(text)
	t.Cleanup(m.stop)
	return m
}

func (m *machine) input(text string) caddy.Input {
	_, port, _ := net.SplitHostPort(m.addr)
	return caddy.CaddyfileInput{Contents: []byte(strings.ReplaceAll(text, "PORT", port)), Filepath: "Corefile", ServerTypeName: "dns"}
}

func (m *machine) start(text string) {
	m.t.Helper()
	inst, err := caddy.Start(m.input(text))
	if err != nil {
		m.t.Fatal(err)
	}
	m.inst = inst
}

func (m *machine) reload(text string) {
	m.t.Helper()
	next, err := m.inst.Restart(m.input(text))
	if err != nil {
		m.t.Fatal(err)
	}
	m.inst = next
}

// stop ends the server and the store, as the end of the process does. The file stays.
func (m *machine) stop() {
	if m.inst == nil {
		return
	}
	m.inst.ShutdownCallbacks()
	_ = m.inst.Stop()
	m.inst = nil
	_ = shared.Close()
}

// ask sends one question and returns the answer; nil if there is none.
func (m *machine) ask(name string) *dns.Msg {
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), m.addr)
	if err != nil {
		return nil
	}
	return r
}

// told returns the answer as text: the address and the TTL, the rcode, or "nothing".
func (m *machine) told(name string) string { return short(m.ask(name)) }

func short(r *dns.Msg) string {
	switch {
	case r == nil:
		return "nothing"
	case len(r.Answer) > 0:
		return fmt.Sprintf("%s %d", r.Answer[len(r.Answer)-1].(*dns.A).A, r.Answer[0].Header().Ttl)
	}
	return dns.RcodeToString[r.Rcode]
}

// freePort returns an address at which no process listens, neither over UDP nor over TCP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		pc, err := net.ListenPacket("udp", addr)
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return addr
		}
	}
	t.Fatal("no port is free for both")
	return ""
}

// eventually waits until ok, for 20 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("not within 20 s: " + what)
		case <-tick.C:
		}
	}
}

// skew is how far the clock of the store is ahead. Tests change it instead of waiting.
var skew atomic.Int64

// age makes all records older.
func age(d time.Duration) { skew.Add(int64(d)) }

// coalesced returns the number of questions that have waited for others.
func coalesced() int { return counted(coalescedTotal) }

func counted(c prometheus.Counter) int {
	m := new(dto.Metric)
	if err := c.Write(m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}
