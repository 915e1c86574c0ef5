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

	"github.com/nodelocaldns/nodelocaldns/internal/background"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// someone is a writer that keeps the answer. It stands for a client without the plugin cache.
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
	p := &store.Process{Now: new(store.Clock).Now}
	if err := p.Open(store.Options{Dir: dir, Size: store.DefaultSize}); err != nil {
		t.Fatal(err)
	}
	k := &Keep{Next: next, process: p, rules: rulesOf(nil), behind: background.New(1000, patience)}
	t.Cleanup(func() {
		_ = k.behind.Close()
		_ = p.Close()
	})
	return k
}

// BenchmarkMiss measures a miss: each question is new, and the next plugin answers at once.
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

// cpuTime returns the CPU time of this process, in nanoseconds.
func cpuTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
