// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// A fakeBackend records what the readers tell it.
type fakeBackend struct {
	store        *store.Store
	misses       []Query
	hits, unsent int
	replaced     int
	interfaces   bool
	came         map[uint32]int // by interface
}

func (b *fakeBackend) Store() *store.Store { return b.store }

func (b *fakeBackend) Miss(q *Query, _ []byte) (int, *store.Entry) {
	b.misses = append(b.misses, *q)
	return 0, nil
}

func (b *fakeBackend) Replaced() { b.replaced++ }

func (b *fakeBackend) Interfaces() bool { return b.interfaces }

func (b *fakeBackend) Came(_ netip.Addr, ifindex uint32) { b.came[ifindex]++ }

func (b *fakeBackend) Sent(from []*store.Entry, unsent int, _ time.Duration) {
	b.hits, b.unsent = b.hits+len(from), b.unsent+unsent
}

// stand returns a listener that nobody reads, and its backend.
func stand(t testing.TB) (*listener, *fakeBackend) {
	t.Helper()
	l := newListener(New(t.Logf), netip.MustParseAddrPort(wiretest.FreePort(t)))
	b := &fakeBackend{store: store.New(8 << 20)}
	l.lease = newLease(l, func(*Lease) Backend { return b })
	l.more = make(chan struct{}, 1)
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.socket.Close() })
	return l, b
}

// keep stores an answer to query.
func (b *fakeBackend) keep(t testing.TB, query []byte) {
	t.Helper()
	k, _ := wire.ParseQuery(query, make([]byte, wire.MaxKey))
	data := wiretest.AnswerTo(t, query, wiretest.A30)
	a, ok := wire.ReadAnswer(data, k)
	if !ok {
		t.Fatal("the answer is not kept")
	}
	b.store.Put(&store.Entry{Key: k, Wire: data, TTLs: a.TTLs, Expires: time.Hour})
}

// receives reads one batch of n packets.
func (r *reader) receives(t *testing.T, n int) {
	t.Helper()
	if errno := r.receive(r.l.fd); errno != 0 || r.n != n {
		t.Fatalf("%d of %d packets: %v", r.n, n, errno)
	}
}

// TestMiss has a hit, a query that is not stored, and one of an unusual form in a batch.
func TestMiss(t *testing.T) {
	l, b := stand(t)
	hit, other := wiretest.Pack(t, "www.example.org.", 1, nil), wiretest.Pack(t, "other.example.org.", 1, nil)
	b.keep(t, hit)
	c := dial(t, l.addr.String())
	for _, p := range [][]byte{other, hit, wiretest.Pack(t, "example.org.", 255, nil)} {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(l, false)
	r.receives(t, 3)
	r.answer()
	if b.hits != 1 || len(b.misses) != 2 || b.misses[0].Key == nil || b.misses[1].Key != nil {
		t.Fatalf("%d hits, misses %+v", b.hits, b.misses)
	}
	for _, q := range b.misses {
		if got := q.Sender.String(); got != c.LocalAddr().String() {
			t.Errorf("from %s, want %s", got, c.LocalAddr())
		}
	}
}

// TestUnsent has answers that the kernel does not take, to a port that nobody can have: the others go out.
func TestUnsent(t *testing.T) {
	l, b := stand(t)
	query := wiretest.Pack(t, "www.example.org.", 1, nil)
	b.keep(t, query)
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
	if err := l.lease.Send(query, netip.MustParseAddrPort("127.0.0.1:0")); err == nil {
		t.Error("no error for an answer to port 0")
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	for range packets - 3 {
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Error(err)
		}
	}
	if b.unsent != 3 {
		t.Errorf("%d answers count as unsent, want 3", b.unsent)
	}
}

// TestLastingError reads what is no socket: the reader says so, does not take a core, and ends with the listener.
func TestLastingError(t *testing.T) {
	l, _ := stand(t)
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
	l, b := stand(t)
	query := wiretest.Pack(t, "www.example.org.", 1, nil)
	b.keep(t, query)
	c := dial(t, l.addr.String())
	for range 3 * batch {
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(l, false)
	for _, want := range []int{2 * batch, 3 * batch} {
		r.drain(2 * batch)
		if n := b.hits; n != want {
			t.Errorf("%d of %d packets were answered, want %d", n, 3*batch, want)
		}
	}
}

// TestStrayedDoesNotWait has somebody hold the listeners' lock, as a reload does.
func TestStrayedDoesNotWait(t *testing.T) {
	ls, done := New(t.Logf), make(chan struct{})
	ls.mu.Lock()
	defer ls.mu.Unlock()
	go func() {
		defer close(done)
		ls.Strayed(netip.MustParseAddrPort("127.0.0.1:53"))
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a query waits for a reload")
	}
}

// TestSample has batches at a low rate and at a high one: the weights of what is counted add up to what came, and no place in a batch is
// left out.
func TestSample(t *testing.T) {
	for _, tt := range []struct {
		rate, batch int // queries a second, and in a batch
		stride      int
	}{{100, 1, 1}, {4000, 32, 1}, {20_000, 1, 4}, {20_000, 32, 4}, {150_000, 1, 16}, {150_000, 32, 16}} {
		var s sample
		var places [batch]int
		now, taken := time.Hour, 0
		for range 400_000 / tt.batch {
			now += time.Duration(tt.batch) * time.Second / time.Duration(tt.rate)
			s.begin(now)
			for i := range tt.batch {
				s.hit(i, nil)
			}
			for _, h := range s.hits[:s.n] {
				taken += s.stride
				places[h.packet]++
			}
		}
		if s.stride != tt.stride {
			t.Errorf("%+v: one stands for %d", tt, s.stride)
		}
		if off := float64(taken)/400_000 - 1; math.Abs(off) > 0.03 {
			t.Errorf("%+v: %d of 400,000", tt, taken)
		}
		least, most := slices.Min(places[:tt.batch]), slices.Max(places[:tt.batch])
		if float64(most) > 1.3*float64(least) {
			t.Errorf("%+v: a place of a batch is counted %d times, another one %d", tt, least, most)
		}
	}
}

// TestSampleLater has another goroutine count while a batch is answered: its hits are counted with a later batch.
func TestSampleLater(t *testing.T) {
	l, b := stand(t)
	name := fmt.Sprintf("later%d.example.org.", l.addr.Port()) // each run of the test has its own: the counts are the process's
	query := wiretest.Pack(t, name, 1, nil)
	b.keep(t, query)
	c := dial(t, l.addr.String())
	r := newReader(l, false)
	answer := func(n int) {
		for range n {
			if _, err := c.Write(query); err != nil {
				t.Fatal(err)
			}
		}
		r.receives(t, n)
		r.answer()
	}
	busiest.Process.Begin(time.Now())
	answer(5)
	busiest.Process.End()
	answer(2)
	answer(1)
	for _, n := range busiest.Process.Report(time.Now()).Names {
		if n.Name == name && n.Queries == 8 {
			return
		}
	}
	t.Errorf("%+v", busiest.Process.Report(time.Now()).Names)
}

// BenchmarkReader answers a batch of hits each time, through the kernel. ns/hit is the CPU time of the reader alone, which other programs
// on the machine disturb less than the time that passes.
func BenchmarkReader(b *testing.B) {
	for _, size := range []int{1, 4, batch} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			l, back := stand(b)
			query := wiretest.Pack(b, "www.example.org.", 1, wiretest.EDNS(1232, false))
			back.keep(b, query)
			c := dial(b, l.addr.String())
			r, buf := newReader(l, false), make([]byte, 512)
			var used int64
			for b.Loop() {
				for range size {
					_, _ = c.Write(query)
				}
				begin := threadTime(b)
				if errno := r.receive(l.fd); errno != 0 || r.n != size {
					b.Fatal(r.n, errno)
				}
				r.answer()
				used += threadTime(b) - begin
				for range size {
					_, _ = c.Read(buf)
				}
			}
			b.ReportMetric(float64(used)/float64(b.N*size), "ns/hit")
		})
	}
}

// threadTime is the CPU time of this thread, in nanoseconds.
func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}
