// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// stand is a server that has no plugins, four places, and counters of its own.
func stand(t testing.TB) *server {
	t.Helper()
	addr := netip.MustParseAddrPort(wiretest.FreePort(t))
	count := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{}) }
	var s *server
	err := udp.New(t.Logf).Listen(addr, func(l *udp.Lease) udp.Backend {
		s = newServer(&dnsserver.Server{Addr: "dns://" + addr.String()}, options{TTL: defaultTTL, Size: defaultSize}, l)
		s.places, s.hits, s.misses, s.unsent = shares.New(4, nil), count(), count(), count()
		s.refused = map[shares.Verdict]prometheus.Counter{shares.OverShare: count(), shares.Full: count()}
		return s
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.lease.Withdraw()
		s.lease.Close()
	})
	return s
}

// keep stores an answer to query with the given times.
func (s *server) keep(t testing.TB, query []byte, expires, ends time.Duration) {
	t.Helper()
	k, _ := wire.ParseQuery(query, make([]byte, wire.MaxKey))
	data := wiretest.AnswerTo(t, query, wiretest.A30)
	a, ok := wire.ReadAnswer(data, k)
	if !ok {
		t.Fatal("the answer is not kept")
	}
	s.store.Put(&store.Entry{Key: k, Wire: data, TTLs: a.TTLs, Stored: udp.Clock(), Expires: expires, Ends: ends,
		Value: &origin{block: &blockInfo{}}})
}

// TestRefused has a client hold all places: another question of it is answered SERVFAIL, beside a hit and a packet
// that is rejected by its header; one of an unusual form is dropped. One that was answered lately gets that answer until its TTL ends.
func TestRefused(t *testing.T) {
	s := stand(t)
	hit := wiretest.Pack(t, "www.example.org.", dns.TypeA, nil)
	s.keep(t, hit, time.Hour, time.Hour)
	old, gone := wiretest.Pack(t, "old.example.org.", dns.TypeA, nil), wiretest.Pack(t, "gone.example.org.", dns.TypeA, nil)
	s.keep(t, old, 0, time.Hour)
	s.keep(t, gone, 0, 0)
	for v := shares.Admitted; v == shares.Admitted; {
		v = s.places.Enter(netip.MustParseAddr("127.0.0.1"), true)
	}
	c := dial(t, s.lease.Addr().String())
	two := append([]byte(nil), hit...)
	two[5] = 2
	packets := [][]byte{wiretest.Pack(t, "new.example.org.", dns.TypeA, nil), hit, wiretest.Pack(t, "example.org.", dns.TypeANY, nil), two, old, gone}
	for i, p := range packets {
		p[0], p[1] = 0, byte(i)
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	got, buf := map[uint16]int{}, make([]byte, 512)
	for range 5 {
		var m dns.Msg
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(buf)
		if err == nil {
			err = m.Unpack(buf[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		got[m.Id] = m.Rcode
	}
	want := map[uint16]int{0: dns.RcodeServerFailure, 1: dns.RcodeSuccess, 3: dns.RcodeFormatError, 4: dns.RcodeSuccess, 5: dns.RcodeServerFailure}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rcodes %v, want %v", got, want)
	}
	s.lease.Withdraw() // ends the readers: everything is counted
	counts := []float64{testutil.ToFloat64(s.hits), testutil.ToFloat64(s.misses), testutil.ToFloat64(s.unsent),
		testutil.ToFloat64(s.refused[shares.Full]), testutil.ToFloat64(s.refused[shares.OverShare])}
	if fmt.Sprint(counts) != "[2 1 0 3 0]" {
		t.Errorf("hits, misses, unsent, refused: %v", counts)
	}
}

// TestPlacesAreGivenBack asks what the plugins of a server without any refuse, and what is not a message.
func TestPlacesAreGivenBack(t *testing.T) {
	s := stand(t)
	c := dial(t, s.lease.Addr().String())
	plain := wiretest.Pack(t, "example.org.", dns.TypeANY, nil)
	for i := range 20 {
		packet := [][]byte{plain, plain[:len(plain)-1]}[i%2]
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Fatal(err)
		}
	}
	if n := testutil.ToFloat64(s.misses); n != 20 {
		t.Errorf("%g of 20 queries were with the plugins", n)
	}
}

// TestUnsentAnswer has an answer of the plugins that the kernel does not take.
func TestUnsentAnswer(t *testing.T) {
	s := stand(t)
	m := &miss{server: s, sender: netip.MustParseAddrPort("127.0.0.1:0")}
	if _, err := m.Write(make([]byte, 12)); err != nil {
		t.Error(err)
	}
	s.Sent(nil, 3, 0)
	if n := testutil.ToFloat64(s.unsent); n != 4 {
		t.Errorf("%g answers count as unsent, want 4", n)
	}
}

// TestServeAfterClose has a server's goroutine come late, when its configuration has been replaced.
func TestServeAfterClose(t *testing.T) {
	addr := netip.MustParseAddrPort(wiretest.FreePort(t))
	ss := &servers{options: options{TTL: defaultTTL, Size: minSize}}
	if err := ss.close(); err != nil {
		t.Fatal(err)
	}
	if err := ss.listen(&dnsserver.Server{Addr: "dns://" + addr.String()}, addr); err != nil {
		t.Error(err)
	}
	if len(ss.all) > 0 {
		t.Errorf("it has taken %s", addr)
	}
}

// TestExpected has a server block with two ports: a reload hands over the sockets of both.
func TestExpected(t *testing.T) {
	second := wiretest.FreePort(t)
	_, port, _ := net.SplitHostPort(second)
	first := serve(t, "a.test:PORT b.test:"+port+" {\n bind 127.0.0.1\n packetcache\n forward . 127.0.0.1:1\n}\n")
	for _, a := range []string{first, second} {
		addr := netip.MustParseAddrPort(a)
		if _, ok := expected.Load(addr); !ok {
			t.Errorf("nothing is expected at %s", addr)
		}
	}
}

// TestKeptSize has the plugins answer more than a client's UDP size, so that the answer is compressed: the store keeps no more memory than
// the answer takes.
func TestKeptSize(t *testing.T) {
	s := stand(t)
	query := wiretest.Pack(t, "www.example.org.", dns.TypeMX, nil)
	k, _ := wire.ParseQuery(query, make([]byte, wire.MaxKey))
	m := &miss{server: s, sender: netip.MustParseAddrPort("127.0.0.1:9"), query: query, key: k}
	m.block.Store(&blockInfo{safe: true})
	var r dns.Msg
	if err := r.Unpack(query); err != nil {
		t.Fatal(err)
	}
	r.Response, r.Compress = true, true
	for i := range 20 {
		rr, err := dns.NewRR(fmt.Sprintf("www.example.org. 30 IN MX %d %s.www.example.org.", i, strings.Repeat("x", 60)))
		if err != nil {
			t.Fatal(err)
		}
		r.Answer = append(r.Answer, rr)
	}
	if err := m.WriteMsg(&r); err != nil {
		t.Fatal(err)
	}
	e := s.store.Get(k)
	if e == nil {
		t.Fatal("not kept")
	}
	uncompressed := r.Copy()
	uncompressed.Compress = false
	if cap(e.Wire) > len(e.Wire)*5/4 || uncompressed.Len() <= len(e.Wire) {
		t.Errorf("%d octets take %d", len(e.Wire), cap(e.Wire))
	}
}
