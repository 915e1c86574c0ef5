// SPDX-License-Identifier: Apache-2.0

package busiest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// add counts queries, each at the same time.
func (c *Count) add(at time.Time, all ...Query) {
	c.Begin(at)
	defer c.End()
	for _, q := range all {
		c.Add(q)
	}
}

// pod returns the address of a pod, n from 0 to 250.
func pod(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 1, byte(n)}) }

// wireOf is name in wire format.
func wireOf(name string) []byte { return wireName(make([]byte, 256), name) }

// of returns what the report says of an address.
func of(b *status.Busiest, a netip.Addr) (c status.Client) {
	for _, c = range b.Clients {
		if c.Address == a {
			return c
		}
	}
	return status.Client{}
}

// TestExact has as many clients as a node has pods: nothing is estimated.
func TestExact(t *testing.T) {
	c := New()
	now := c.born
	for n := range 60 {
		for i := range n + 1 {
			c.add(now, Query{Client: pod(n), Name: wireOf("www.example.org."), Miss: i < n/2, NXDomain: i < n/3})
		}
	}
	c.add(now, Query{Client: pod(7), Weight: 100})
	c.AddNXDomain(pod(7))
	b := c.Report(now.Add(3 * time.Second))
	if b.Seconds != 3 || b.Queries != 60*61/2+100 {
		t.Errorf("%d queries in %g s", b.Queries, b.Seconds)
	}
	if first := b.Clients[0]; first.Address != pod(7) || first.Queries != 108 || first.NXDomain != 7/3+1 {
		t.Errorf("first is %+v", first)
	}
	for n := range 60 {
		want := status.Client{Address: pod(n), Queries: uint64(n + 1), Misses: uint64(n / 2), NXDomain: uint64(n / 3), Name: "www.example.org."}
		if got := of(b, pod(n)); n != 7 && got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if len(b.Names) != 1 || b.Names[0] != (status.Name{Name: "www.example.org.", Queries: 60 * 61 / 2}) {
		t.Errorf("names %+v", b.Names)
	}
}

// TestZipf has 20,000 names, as popular as names are: the busiest ten are found, in order, with figures that are near, and never more
// than the truth.
func TestZipf(t *testing.T) {
	c, truth := New(), map[string]uint64{}
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 20000)
	for range 200_000 {
		name := fmt.Sprintf("n%d.example.org.", z.Uint64())
		truth[name]++
		c.add(c.born, Query{Client: pod(1), Name: wireOf(name)})
	}
	b := c.Report(c.born)
	for i, n := range b.Names[:10] {
		want := fmt.Sprintf("n%d.example.org.", i)
		if n.Name != want || n.Queries > truth[want] || float64(n.Queries) < 0.95*float64(truth[want]) {
			t.Errorf("%d: %+v, want %s with %d", i, n, want, truth[want])
		}
	}
}

// TestRandomNames has one client ask for 250,000 names, each once, and 30 others for their own name all the time. The flood is seen, the
// others are, too, and so are their names.
func TestRandomNames(t *testing.T) {
	c := New()
	for i := range 250_000 {
		c.add(c.born, Query{Client: pod(200), Name: wireOf(fmt.Sprintf("%08x.example.org.", rand.Uint32())), Miss: true, NXDomain: true})
		if i%100 == 0 {
			n := i / 100 % 30
			c.add(c.born, Query{Client: pod(n), Name: wireOf(fmt.Sprintf("own%d.example.org.", n))})
		}
	}
	b := c.Report(c.born)
	if first := b.Clients[0]; first.Address != pod(200) || first.Queries != 250_000 || first.Misses != 250_000 || first.NXDomain != 250_000 {
		t.Errorf("first is %+v", first)
	}
	for n := range 30 {
		if got := of(b, pod(n)); got.Queries < 83 || got.Name != fmt.Sprintf("own%d.example.org.", n) {
			t.Errorf("client %d: %+v", n, got)
		}
	}
	seen := 0
	for _, n := range b.Names {
		if strings.HasPrefix(n.Name, "own") && n.Queries > 30 && n.Queries <= 84 {
			seen++
		} else if n.Queries > 2 && !strings.HasPrefix(n.Name, "own") {
			t.Errorf("a name that was asked once: %+v", n)
		}
	}
	if seen < 20 {
		t.Errorf("%d of 30 names that are asked all the time", seen)
	}
}

// TestSpoofed has 250,000 addresses ask once each, and one client a hundredth of that.
func TestSpoofed(t *testing.T) {
	c := New()
	for i := range 250_000 {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], 0xfd00<<48)
		binary.BigEndian.PutUint64(a[8:], rand.Uint64())
		c.add(c.born, Query{Client: netip.AddrFrom16(a)})
		if i%100 == 0 {
			c.add(c.born, Query{Client: pod(1)})
		}
	}
	b := c.Report(c.born)
	if first := b.Clients[0]; first.Address != pod(1) || first.Queries > 2500 || first.Queries < 2200 {
		t.Errorf("first is %+v, want %s with 2500", first, pod(1))
	}
	if len(b.Clients) != most || b.Clients[1].Queries > 3 {
		t.Errorf("%d clients, second is %+v", len(b.Clients), b.Clients[1])
	}
}

// TestAllocations counts new clients and names, and known ones.
func TestAllocations(t *testing.T) {
	c, n, name := New(), uint32(0), wireOf("00000000.example.org.")
	if got := testing.AllocsPerRun(10000, func() {
		n++
		binary.BigEndian.PutUint32(name[1:], n)
		for _, id := range []uint32{n, 1} {
			c.add(c.born, Query{Client: netip.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)}), Name: name})
		}
	}); got != 0 {
		t.Errorf("%g allocations", got)
	}
}

// TestWindow ends a flood, and asks for reports later.
func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		after   time.Duration // since the flood, which is 7 s after the start
		queries uint64
		seconds float64
	}{
		{0, 1000, 7},
		{2900 * time.Millisecond, 1000, 9.9},
		{3 * time.Second, 1000, 5},
		{7900 * time.Millisecond, 1000, 9.9},
		{8 * time.Second, 0, 5},
		{time.Hour, 0, 5},
	} {
		c := New()
		flood := c.born.Add(7 * time.Second)
		c.add(flood, Query{Client: pod(1), Name: wireOf("www.example.org."), Weight: 1000})
		b := c.Report(flood.Add(tt.after))
		if b.Queries != tt.queries || math.Abs(b.Seconds-tt.seconds) > 1e-9 {
			t.Errorf("%s later: %d queries in %g s, want %d in %g s", tt.after, b.Queries, b.Seconds, tt.queries, tt.seconds)
		}
		if known := tt.queries > 0; (len(b.Clients) == 1) != known || (len(b.Names) == 1) != known {
			t.Errorf("%s later: %+v", tt.after, b)
		}
	}
}

// TestVote has clients with a name that they ask often, also over two periods.
func TestVote(t *testing.T) {
	c := New()
	for i := range 300 {
		name := "often.example.org."
		if i%5 > 2 {
			name = fmt.Sprintf("n%d.example.org.", i)
		}
		c.add(c.born.Add(time.Duration(i)*20*time.Millisecond), Query{Client: pod(1), Name: wireOf(name)}, Query{Client: pod(2)})
	}
	b := c.Report(c.born.Add(6 * time.Second))
	if got := of(b, pod(1)).Name; got != "often.example.org." {
		t.Errorf("asked often: %q", got)
	}
	if got := of(b, pod(2)); got.Name != "" || got.Queries != 300 {
		t.Errorf("a client without names: %+v", got)
	}
}

// TestApart counts queries of which it is not known who asked for what, beside one of which it is.
func TestApart(t *testing.T) {
	c := New()
	c.Begin(c.born)
	c.Add(Query{Client: pod(1), Name: wireOf("www.example.org.")})
	c.AddClient(Query{Client: pod(1), Name: wireOf("www.example.org."), Weight: 6})
	c.AddClient(Query{Client: pod(1), Name: wireOf("none.example.org."), Weight: 4, NXDomain: true})
	c.AddClient(Query{Client: pod(2), Weight: 20})
	c.AddName(wireOf("www.example.org."), 25)
	c.AddName(wireOf("none.example.org."), 5)
	c.AddName(nil, 5)
	c.End()
	b := c.Report(c.born)
	clients := []status.Client{{Address: pod(2), Queries: 20}, {Address: pod(1), Queries: 11, NXDomain: 4, Name: "www.example.org."}}
	names := []status.Name{{Name: "www.example.org.", Queries: 26}, {Name: "none.example.org.", Queries: 5}}
	if b.Queries != 31 || !slices.Equal(b.Clients, clients) || !slices.Equal(b.Names, names) {
		t.Errorf("%+v", b)
	}
}

func TestNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, tt := range []struct{ in, want string }{
		{".", "."},
		{"WWW.Example.org.", "www.example.org."},
		{`bad\027[2J.example.org.`, `bad\027[2j.example.org.`},
		{label + "." + label + ".", "..." + label + "."},
		{strings.Repeat("b.", 127), "..." + strings.Repeat("b.", 63)},
		{label + "a.", ""},
	} {
		c := New()
		c.add(c.born, Query{Client: pod(1), Name: wireOf(tt.in)})
		b := c.Report(c.born)
		if got := b.Clients[0].Name; got != tt.want {
			t.Errorf("%q is %q, want %q", tt.in, got, tt.want)
		}
		if len(b.Names) > 0 && b.Names[0].Name != tt.want {
			t.Errorf("%q is %q among the names, want %q", tt.in, b.Names[0].Name, tt.want)
		}
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	c, done := New(), make(chan int)
	for g := range 4 {
		go func() {
			n := 0
			for range 10_000 {
				if now := time.Now(); c.TryBegin(now) {
					c.Add(Query{Client: pod(g), Name: wireOf("www.example.org.")})
					c.End()
					n++
				}
			}
			done <- n
		}()
	}
	sum := 0
	for range 4 {
		sum += <-done
		c.Report(time.Now())
	}
	if b := c.Report(time.Now()); b.Queries > uint64(sum) || b.Seconds < half.Seconds() && b.Queries != uint64(sum) {
		t.Errorf("%d queries, want %d", b.Queries, sum)
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, size := range []int{1, 100, 1 << 16} {
		b.Run(fmt.Sprintf("%d clients and names", size), func(b *testing.B) {
			c, queries := New(), make([]Query, size)
			for i := range queries {
				queries[i] = Query{Client: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Name: wireOf(fmt.Sprintf("n%d.svc.cluster.local.", i))}
			}
			now := time.Now()
			for i := 0; b.Loop(); i++ {
				c.add(now, queries[i%size])
			}
		})
	}
}

// TestNameOf has the shortest and the longest name, capitals, and an octet that is three digits in text.
func TestNameOf(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 63)+".", 3) + strings.Repeat("y", 61) + "."
	for name, want := range map[string]string{
		".": "\x00", "A.": "\x01a\x00", `\255b.Test.`: "\x02\xffb\x04test\x00",
		long: strings.Repeat("\x3f"+strings.Repeat("x", 63), 3) + "\x3d" + strings.Repeat("y", 61) + "\x00",
	} {
		if got := NameOf(new(dns.Msg).SetQuestion(name, dns.TypeA)); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := NameOf(new(dns.Msg)); got != nil {
		t.Errorf("no question: %q", got)
	}
}
