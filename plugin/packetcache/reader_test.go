// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// stand is a listener that nobody reads, with a server that has no plugins.
func stand(t testing.TB) *listener {
	t.Helper()
	addr := netip.MustParseAddrPort(freePort(t))
	count := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{}) }
	l := &listener{addr: addr, local: net.UDPAddrFromAddrPort(addr), more: make(chan struct{}, 1), closing: make(chan struct{})}
	l.server = &server{
		dns: &dnsserver.Server{Addr: "dns://" + addr.String()}, listener: l, store: newStore(defaultSize), places: shares.New(4, nil), ctx: t.Context(),
		hits: count(), misses: count(), unsent: count(),
		refused: map[shares.Verdict]prometheus.Counter{shares.OverShare: count(), shares.Full: count()},
	}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// store stores an answer to query.
func (l *listener) store(t testing.TB, query []byte) {
	t.Helper()
	s := l.server.store
	k, _ := key(query)
	wire := answerTo(t, query, a30)
	a, ok := readAnswer(wire, k)
	if !ok {
		t.Fatal("the answer is not kept")
	}
	s.put(&entry{key: k, hash: s.hash(k), wire: wire, ttls: a.ttls, expires: time.Hour, block: &block{}})
}

// storeOld stores an answer to query that is to be renewed, and ends in left.
func (l *listener) storeOld(t testing.TB, query []byte, left time.Duration) {
	t.Helper()
	l.store(t, query)
	k, _ := key(query)
	h := l.server.store.hash(k)
	e := l.server.store.get(h, k)
	now := clock()
	l.server.store.put(&entry{key: k, hash: h, wire: e.wire, ttls: e.ttls, stored: now, expires: now, ends: now + left, block: e.block})
}

// receives reads one batch of n packets.
func (r *reader) receives(t *testing.T, n int) {
	t.Helper()
	if errno := r.receive(r.l.fd); errno != 0 || r.n != n {
		t.Fatalf("%d of %d packets: %v", r.n, n, errno)
	}
}

// TestRefused has a client hold all places: another question of it is answered SERVFAIL, in the same call as a hit and a packet
// that is rejected by its header; one of an unusual form is dropped. One that was answered lately gets that answer until its TTL ends.
func TestRefused(t *testing.T) {
	l := stand(t)
	hit := pack(t, "www.example.org.", dns.TypeA, nil)
	l.store(t, hit)
	old, gone := pack(t, "old.example.org.", dns.TypeA, nil), pack(t, "gone.example.org.", dns.TypeA, nil)
	l.storeOld(t, old, time.Hour)
	l.storeOld(t, gone, 0)
	for v := shares.Admitted; v == shares.Admitted; {
		v = l.server.places.Enter(netip.MustParseAddr("127.0.0.1"), true)
	}
	c := dial(t, l.addr.String())
	two := append([]byte(nil), hit...)
	two[5] = 2
	packets := [][]byte{pack(t, "new.example.org.", dns.TypeA, nil), hit, pack(t, "example.org.", dns.TypeANY, nil), two, old, gone}
	for i, p := range packets {
		p[0], p[1] = 0, byte(i)
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(l, false)
	r.receives(t, len(packets))
	r.answer()
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
	s := l.server
	counts := []float64{testutil.ToFloat64(s.hits), testutil.ToFloat64(s.misses), testutil.ToFloat64(s.unsent),
		testutil.ToFloat64(s.refused[shares.Full]), testutil.ToFloat64(s.refused[shares.OverShare])}
	if fmt.Sprint(counts) != "[2 1 0 3 0]" {
		t.Errorf("hits, misses, unsent, refused: %v", counts)
	}
}

// TestPlacesAreGivenBack asks what the plugins of a server without any refuse, and what is not a message.
func TestPlacesAreGivenBack(t *testing.T) {
	l := stand(t)
	c := dial(t, l.addr.String())
	r := newReader(l, false)
	plain := pack(t, "example.org.", dns.TypeANY, nil)
	for i := range 20 {
		packet := [][]byte{plain, plain[:len(plain)-1]}[i%2]
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		r.receives(t, 1)
		r.answer()
		l.server.queries.Wait()
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Fatal(err)
		}
	}
	if n := testutil.ToFloat64(l.server.misses); n != 20 {
		t.Errorf("%g of 20 queries were with the plugins", n)
	}
}

// TestUnsent has answers that the kernel does not take, to a port that nobody can have: the others go out.
func TestUnsent(t *testing.T) {
	l := stand(t)
	query := pack(t, "www.example.org.", dns.TypeA, nil)
	l.store(t, query)
	c := dial(t, l.addr.String())
	const packets = 5
	for range packets {
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(l, false)
	r.receives(t, packets)
	for _, i := range []int{0, 2, 4} {
		r.names[i].Port = 0
	}
	r.answer()
	m := &miss{server: l.server, remote: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	if _, err := m.Write(query); err != nil {
		t.Error(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	for range packets - 3 {
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Error(err)
		}
	}
	if n := testutil.ToFloat64(l.server.unsent); n != 4 {
		t.Errorf("%g answers count as unsent, want 4", n)
	}
}

// TestLastingError reads what is no socket: the reader says so, does not take a core, and ends with the listener.
func TestLastingError(t *testing.T) {
	l := stand(t)
	r, ended := newReader(l, false), make(chan bool)
	before := cpuTime(t)
	go func() { ended <- r.serve(^uintptr(0)) }()
	<-time.After(20 * pause) // what is measured
	used := cpuTime(t) - before
	close(l.closing)
	if !<-ended || r.warned != unix.EBADF {
		t.Errorf("reading went on, and said %v", r.warned)
	}
	if used > 10*pause {
		t.Errorf("it took %s of CPU in %s", used, 20*pause)
	}
}

// cpuTime is that of this process.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestDrainEnds has more packets wait than are to be answered.
func TestDrainEnds(t *testing.T) {
	l := stand(t)
	query := pack(t, "www.example.org.", dns.TypeA, nil)
	l.store(t, query)
	c := dial(t, l.addr.String())
	for range 3 * batch {
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(l, false)
	for _, want := range []float64{2 * batch, 3 * batch} {
		r.drain(2 * batch)
		if n := testutil.ToFloat64(l.server.hits); n != want {
			t.Errorf("%g of %d packets were answered, want %g", n, 3*batch, want)
		}
	}
}

// TestStrayedDoesNotWait has somebody hold the listeners' lock, as a reload does.
func TestStrayedDoesNotWait(t *testing.T) {
	listeners.Lock()
	defer listeners.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		strayed("dns://127.0.0.1:53", &miss{server: &server{listener: &listener{local: &net.UDPAddr{}}}})
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a query waits for a reload")
	}
}

// BenchmarkReader answers a full batch of hits each time, through the kernel. Of a query sending it and reading its answer are part, too.
func BenchmarkReader(b *testing.B) {
	l := stand(b)
	query := pack(b, "www.example.org.", 1, edns(1232, false))
	l.store(b, query)
	c := dial(b, l.addr.String())
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
