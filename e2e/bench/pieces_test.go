// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("empty: %s", got)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	var sum histogram
	sum.merge(&h)
	for q, want := range map[float64]time.Duration{0: 1000, 0.5: 501_000, 0.99: 991_000, 0.999: 1_000_000, 1: 1_000_000} {
		got := sum.quantile(q)
		if math.Abs(float64(got-want)) > float64(want)/128 {
			t.Errorf("quantile %g: %s, want %s", q, got, want)
		}
	}
}

func TestBuckets(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1 << 20, 1<<20 + 1<<14, 1 << 40, math.MaxInt64} {
		b := bucket(v)
		if b < last {
			t.Errorf("bucket of %d: %d after %d", v, b, last)
		}
		last = b
		if m := middle(b); math.Abs(float64(m)-float64(v)) > float64(v)/128+0.5 {
			t.Errorf("middle of the bucket of %d: %d", v, m)
		}
	}
	if size := len(histogram{}.counts); last >= size {
		t.Errorf("bucket %d of %d", last, size)
	}
}

func TestLoads(t *testing.T) {
	for _, name := range []string{"hits", "zipf", "zipf-names", "misses", "half", "names:10000"} {
		l, err := newLoad(name)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		var buf [packetSize]byte
		for range 2000 {
			n, rcode := l.next(buf[:])
			m := new(dns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			q := m.Question[0].Name
			if outside := strings.Contains(q, outsideZone) && !strings.HasSuffix(q, outsideZone); outside != (rcode == dns.RcodeNameError) {
				t.Errorf("%s: %s is to have response code %d", name, q, rcode)
			}
			seen[string(buf[:n])] = true
		}
		want := map[string]int{"hits": 12, "zipf-names": 2000, "misses": 2000, "half": 1012, "names:10000": 2000}[name]
		if want != 0 && len(seen) != want {
			t.Errorf("%s: %d different queries, want %d", name, len(seen), want)
		}
	}
	if _, err := newLoad("none"); err == nil {
		t.Error("a load that is not there")
	}
}

func TestZipfNames(t *testing.T) {
	names := map[string]bool{}
	for _, q := range zipfQueries() {
		m := new(dns.Msg)
		if err := m.Unpack(q.wire); err != nil {
			t.Fatal(err)
		}
		names[m.Question[0].Name] = true
	}
	if len(names) != 10_000 {
		t.Errorf("%d names", len(names))
	}
}

func TestNumbered(t *testing.T) {
	l := &numbered{prefix: "name", number: 12_345_678}
	var buf [packetSize]byte
	for _, want := range []string{"name-12345678.", "name-12345679."} {
		n, _ := l.next(buf[:])
		m := new(dns.Msg)
		if err := m.Unpack(buf[:n]); err != nil || !strings.HasPrefix(m.Question[0].Name, want) {
			t.Errorf("%v, %v; want %s", m.Question, err, want)
		}
	}
}

// TestLoss has a generator without a socket, and moves the time.
func TestLoss(t *testing.T) {
	g := &generator{}
	first, second := g.take(0, dns.RcodeSuccess), g.take(0, dns.RcodeSuccess)
	answer := []byte{byte(second >> 8), byte(second), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0}
	g.answer(answer, time.Millisecond)
	g.answer(answer, time.Millisecond)
	g.expire(timeout - 1)
	if g.Answered != 1 || g.Late != 1 || g.Lost != 0 || g.open != 1 {
		t.Errorf("%d answered, %d late, %d lost, %d open", g.Answered, g.Late, g.Lost, g.open)
	}
	g.expire(timeout)
	if g.Lost != 1 || g.open != 0 || g.flights[first].open {
		t.Errorf("%d lost, %d open", g.Lost, g.open)
	}
	for range 1<<16 + 1 {
		g.take(timeout, 0)
	}
	if g.Lost != 2 || g.open != 1<<16 {
		t.Errorf("all IDs taken: %d lost, %d open", g.Lost, g.open)
	}
}

func TestAsExpected(t *testing.T) {
	for name, c := range map[string]struct {
		flags1, flags2, answers, rcode byte
		want                           bool
	}{
		"answer":        {0x80, 0x80, 1, dns.RcodeSuccess, true},
		"no such name":  {0x80, 0x83, 0, dns.RcodeNameError, true},
		"query":         {0x00, 0x80, 1, dns.RcodeSuccess, false},
		"truncated":     {0x82, 0x80, 1, dns.RcodeSuccess, false},
		"failure":       {0x80, 0x82, 0, dns.RcodeSuccess, false},
		"no data":       {0x80, 0x80, 0, dns.RcodeSuccess, false},
		"exists, wrong": {0x80, 0x80, 1, dns.RcodeNameError, false},
	} {
		packet := []byte{0, 0, c.flags1, c.flags2, 0, 1, 0, c.answers, 0, 0, 0, 0}
		if got := asExpected(packet, c.rcode); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
