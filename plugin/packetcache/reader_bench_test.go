// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkReader answers a full batch of hits each time, through the kernel. Of a query sending it and reading its answer are part, too.
func BenchmarkReader(b *testing.B) {
	addr := netip.MustParseAddrPort(freePort(b))
	s := &server{store: newStore(defaultSize), hits: prometheus.NewCounter(prometheus.CounterOpts{})}
	l := &listener{addr: addr, local: net.UDPAddrFromAddrPort(addr), server: s, more: make(chan struct{}, 1), closing: make(chan struct{})}
	if err := l.open(); err != nil {
		b.Fatal(err)
	}
	defer l.close()
	query := pack(b, "www.example.org.", 1, edns(1232, false))
	k, _ := key(query)
	wire := answerTo(b, query, a30)
	a, _ := readAnswer(wire, k)
	e := &entry{key: k, hash: s.store.hash(k), wire: wire, ttls: a.ttls, expires: time.Hour, block: &block{}}
	s.store.put(e)
	c := dial(b, addr.String())
	r, buf := newReader(l, false), make([]byte, 512)
	for b.Loop() {
		for range batch {
			_, _ = c.Write(query)
		}
		if errno := r.receive(l.fd); errno != 0 || r.n != batch {
			b.Fatal(r.n, errno)
		}
		r.answer()
		for range batch {
			_, _ = c.Read(buf)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/query")
}
