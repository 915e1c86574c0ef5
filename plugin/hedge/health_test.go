// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestMoves has each pair of states.
func TestMoves(t *testing.T) {
	want := map[[2]verdict]bool{
		{prepared, answering}: true, {prepared, closed}: true,
		{answering, suspect}: true,
		{suspect, silent}:    true, {suspect, answering}: true,
		{silent, answering}: true,
		{answering, closed}: true, {suspect, closed}: true, {silent, closed}: true,
	}
	for from := prepared; from <= closed; from++ {
		for to := prepared; to <= closed; to++ {
			if got := slices.Contains(before[to], from); got != want[[2]verdict{from, to}] {
				t.Errorf("from %d to %d: %v", from, to, got)
			}
		}
	}
}

// TestWear has each pair of states: the later one stays.
func TestWear(t *testing.T) {
	want := map[[2]wear]wear{
		{fresh, fresh}: fresh, {fresh, used}: used, {fresh, spoiled}: spoiled,
		{used, fresh}: used, {used, used}: used, {used, spoiled}: spoiled,
		{spoiled, fresh}: spoiled, {spoiled, used}: spoiled, {spoiled, spoiled}: spoiled,
	}
	for pair, want := range want {
		if got := pair[0].grown(pair[1]); got != want {
			t.Errorf("%d after %d: %d, want %d", pair[1], pair[0], got, want)
		}
	}
}

// TestHealth checks the states after questions without answers.
func TestHealth(t *testing.T) {
	asked, result := make(chan bool), make(chan bool)
	changes := make(chan verdict, 10)
	h := newHealth(func(time.Duration) bool { asked <- true; return <-result }, func(v verdict, _ time.Time) { changes <- v })
	h.answered(time.Now())
	h.failed(time.Now().Add(-time.Second)) // others were answered since
	if verdict(h.state.Load()) != answering {
		t.Fatal("a question without an answer counts although others were answered")
	}
	h.failed(time.Now())
	<-asked
	result <- true // the upstream knows its own, so it was the name
	until(t, "the usual state", func() bool { return verdict(h.state.Load()) == answering })
	h.failed(time.Now())
	<-asked
	result <- false
	if v := <-changes; v != silent {
		t.Fatal(v)
	}
	<-asked
	h.answered(time.Now()) // a client's question
	if v := <-changes; v != answering {
		t.Fatal(v)
	}
	result <- false // too late
	h.close()
	if len(changes) != 0 {
		t.Errorf("then %v", <-changes)
	}
	h.answered(time.Now())
	h.failed(time.Now())
}

// TestUpstreamUp checks the gauge while a server stops answering, and answers a probe later.
func TestUpstreamUp(t *testing.T) {
	var quiet atomic.Bool
	s := serve(t, func(_ int, q *dns.Msg) ([]*dns.Msg, bool) {
		if quiet.Load() {
			return nil, true
		}
		return []*dns.Msg{reply(q)}, true
	})
	h := hedge(t, func(o *options) { o.Timeout = 100 * time.Millisecond }, s.addr)
	up := upstreamUp.WithLabelValues(s.addr)
	if _, _, err := ask(h, "a.example."); err != nil || testutil.ToFloat64(up) != 1 {
		t.Fatal(err)
	}
	quiet.Store(true)
	if _, _, err := ask(h, "b.example."); err == nil {
		t.Fatal("no error")
	}
	until(t, "upstream_up 0", func() bool { return testutil.ToFloat64(up) == 0 })
	quiet.Store(false)
	until(t, "upstream_up 1", func() bool { return testutil.ToFloat64(up) == 1 })
}
