// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

// BenchmarkService measures a question for a Service that is in no cache, with and without the plugin.
func BenchmarkService(b *testing.B) {
	q := new(dns.Msg).SetQuestion("web.shop.svc.cluster.local.", dns.TypeA)
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{test.A("web.shop.svc.cluster.local. 30 IN A 10.96.7.7")}
	next := plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, _ *dns.Msg) (int, error) { return 0, w.WriteMsg(m) })
	s := New([]string{"cluster.local."}, true)
	s.Next = next
	for name, h := range map[string]plugin.Handler{"with": s, "without": next} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := plugin.NextOrFailure("bench", h, context.Background(), &test.ResponseWriter{}, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
