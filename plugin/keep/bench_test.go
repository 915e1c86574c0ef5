// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// someone is a writer that remembers what it was told. It stands for a client without the plugin cache.
type someone struct{ got *dns.Msg }

func (c *someone) LocalAddr() net.Addr         { return &net.UDPAddr{} }
func (c *someone) RemoteAddr() net.Addr        { return &net.UDPAddr{} }
func (c *someone) WriteMsg(m *dns.Msg) error   { c.got = m; return nil }
func (c *someone) Write(b []byte) (int, error) { return len(b), nil }
func (c *someone) Close() error                { return nil }
func (c *someone) TsigStatus() error           { return nil }
func (c *someone) TsigTimersOnly(bool)         {}
func (c *someone) Hijack()                     {}

// newKeep returns a handler with a store of its own in dir, which may be empty.
func newKeep(t testing.TB, dir string, next plugin.HandlerFunc) *Keep {
	t.Helper()
	p := &process{now: new(bootClock).now}
	if err := p.open(options{dir, defaultSize}); err != nil {
		t.Fatal(err)
	}
	k := &Keep{Next: next, process: p, rules: rulesOf(nil)}
	t.Cleanup(func() {
		_ = k.behind.close()
		forget(p)
	})
	return k
}

// BenchmarkMiss tells what a miss costs: each question is a new one, and the next plugin answers at once.
func BenchmarkMiss(b *testing.B) {
	m := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	m = address("192.0.2.1", 30)(m)
	var questions [4096]string
	for i := range questions {
		questions[i] = fmt.Sprintf("name-%d.default.svc.cluster.local.", i)
	}
	next := plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m.Question[0].Name, m.Answer[0].Header().Name = r.Question[0].Name, r.Question[0].Name
		return 0, w.WriteMsg(m)
	})
	kept := newKeep(b, b.TempDir(), next)
	kept.rules.success.most = time.Second // so that no question is answered from the store
	for name, h := range map[string]plugin.Handler{"without": next, "with": kept} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
			w := new(someone)
			begin := cpuTime()
			for i := 0; b.Loop(); i++ {
				r.Question[0].Name = questions[i%len(questions)]
				_, _ = plugin.NextOrFailure("test", h, b.Context(), w, r)
			}
			b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has taken, whoever else is on the machine.
func cpuTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkStart tells what a start costs with a full file that a process has left.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	left := fill(b, dir, defaultSize)
	for b.Loop() {
		s, err := openStore(dir, defaultSize, boottime())
		if err != nil {
			b.Fatal(err)
		}
		if n, _ := s.usage(positive); n != left {
			b.Fatalf("%d entries, want %d", n, left)
		}
		_ = s.own.close() // the file stays for the next one
	}
	b.ReportMetric(float64(left), "entries")
}

// fill leaves a file in dir whose ring of positive answers is full, and returns the number of its entries.
func fill(t testing.TB, dir string, size int) int {
	t.Helper()
	s, err := openStore(dir, size, boottime())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		before, _ := s.usage(positive)
		s.put(sample(fmt.Sprintf("name-%d.default.svc.cluster.local.", i), "192.0.2.1", boottime()))
		if after, _ := s.usage(positive); after == before {
			_ = s.own.close()
			return after
		}
	}
}

// sample is a record for an A question.
func sample(name, ip string, now int64) *record {
	r := new(dns.Msg).SetQuestion(name, dns.TypeA)
	var k key
	if !k.set(&[hashLen]byte{}, r) {
		panic(name)
	}
	wire, err := address(ip, 3600)(r).Pack()
	if err != nil {
		panic(err)
	}
	return &record{stored: now, lifetime: int64(time.Hour), until: now + int64(2*time.Hour), kind: positive, key: k.bytes(), wire: wire}
}
