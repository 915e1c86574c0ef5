// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	vitals "github.com/nodelocaldns/nodelocaldns/internal/status"
)

// tells prints what the command status is told, with times as their age.
func (b *bench) tells() string {
	r := vitals.Report{Time: time.Now()}
	b.n.describe(&r)
	if r.Node == nil {
		return "nothing"
	}
	age := func(at time.Time) string { return r.Time.Sub(at).Round(100 * time.Millisecond).String() }
	n, s := r.Node, []string{}
	for _, a := range n.Addresses {
		left := "none"
		if a.Left != nil {
			left = fmt.Sprintf("%gs", *a.Left)
		}
		s = append(s, fmt.Sprintf("%s %t %s: %s, lease %s", a.Address, a.Steered, age(a.Since), a.Why, left))
	}
	for _, part := range []string{n.Waiting, n.Rules.Error, n.Rules.Repaired, strings.Join(n.Troubles, ", "), n.Peers, n.Turn} {
		if part != "" {
			s = append(s, part)
		}
	}
	if n.Leaving {
		s = append(s, "leaving")
	}
	return strings.Join(s, "; ")
}

// TestStatus tells a story of a node, and what the command status is told at each step.
func TestStatus(t *testing.T) {
	var told []string
	play(t, `57.5s counted lease_failures: 2, repairs rules: 1, setup_errors interface_check: 2, setup_errors iptables: 2, setup_errors iptables_lock: 3, withdrawals lease: 2, withdrawals self_query: 2, withdrawals shutdown: 1`, func(b *bench) {
		defer func() { b.lines = nil }() // other tests compare them
		stepLocked := func(what string) { told = append(told, strings.TrimSpace(what+": "+b.tells())) }
		step := func(what string) { b.do(func() { stepLocked(what) }) } // the fake network needs the lock, describe does not
		step("before the start")
		b.verdicts[one], b.verdicts[two] = failed, foreign
		b.must(b.n.start(both))
		b.pass(2 * time.Second)
		step("start")
		b.hear(answered, one, two)
		b.pass(4 * time.Second)
		step("steered")
		b.hear(failed, one)
		b.pass(1600 * time.Millisecond)
		step("failing")
		b.pass(4400 * time.Millisecond)
		step("deaf")
		b.hear(answered, one)
		b.pass(10 * time.Second)
		step("again")
		b.do(func() { b.fake.broken = []string{"rules"} })
		b.pass(2 * time.Second)
		step("repaired")
		b.fail("look", errBroken, 2*time.Second)
		b.pass(time.Second)
		step("broken")
		b.fail("renew", errors.New("no such device"), 2*time.Second)
		b.pass(time.Second)
		step("trouble")
		b.pass(4 * time.Second)
		b.do(func() { b.fake.peers = "udp 127.53.0.2:60 is held by pid 1 (x), user 0" })
		b.pass(2 * time.Second)
		step("another instance")
		b.do(func() { b.fake.peers, b.fake.awaited = "", time.Now() })
		b.pass(time.Second)
		step("turn")
		b.do(func() { b.fake.awaited = time.Time{} })
		b.fail("apply", hostnet.ErrLocked, 5*time.Second)
		b.hear(failed, one)
		b.pass(4 * time.Second)
		step("locked")
		b.hear(answered, one)
		b.pass(10 * time.Second)
		b.do(func() { // what holds the lock does not hold up the report
			time.Sleep(4 * time.Second)
			stepLocked("hung")
		})
		b.pass(5 * time.Second)
		b.must(b.n.take(leaves)())
		step("leaving")
		b.must(b.n.close())
		step("closed")
		b.must(b.n.start(nothing()))
		step("nothing owned")
	})
	want := trim(`
		before the start: nothing
		start: 10.0.0.1 false 2.5s: the cache has not answered a self-query there yet, lease 2.5s; 10.0.0.2 false 2.5s: only another instance answers there, lease 2.5s
		steered: 10.0.0.1 true 4s: it answers its self-queries, lease 3s; 10.0.0.2 true 4s: it answers its self-queries, lease 3s
		failing: 10.0.0.1 true 6s: no answer to the last 2 self-queries, lease 2.5s; 10.0.0.2 true 6s: it answers its self-queries, lease 2.5s
		deaf: 10.0.0.1 false 4s: no answer to 3 self-queries in a row, lease 2.5s; 10.0.0.2 true 10.5s: it answers its self-queries, lease 2.5s
		again: 10.0.0.1 true 8.5s: it answers its self-queries, lease 2.5s; 10.0.0.2 true 20.5s: it answers its self-queries, lease 2.5s
		repaired: 10.0.0.1 true 10.5s: it answers its self-queries, lease 2.5s; 10.0.0.2 true 22.5s: it answers its self-queries, lease 2.5s; rules
		broken: 10.0.0.1 true 11.5s: it answers its self-queries, lease 2.5s; 10.0.0.2 true 23.5s: it answers its self-queries, lease 2.5s; it is broken; rules
		trouble: 10.0.0.1 true 12.5s: it answers its self-queries, lease 1.5s; 10.0.0.2 true 24.5s: it answers its self-queries, lease 1.5s; it is broken; rules; no such device
		another instance: 10.0.0.1 true 4.5s: it answers its self-queries, lease 2.5s; 10.0.0.2 true 4.5s: it answers its self-queries, lease 2.5s; rules; udp 127.53.0.2:60 is held by pid 1 (x), user 0
		turn: 10.0.0.1 true 5.5s: it answers its self-queries, lease 2.5s; 10.0.0.2 true 5.5s: it answers its self-queries, lease 2.5s; rules; somebody holds it
		locked: 10.0.0.1 false 2s: no answer to 3 self-queries in a row; the rules cannot be changed, so the address is off the link, lease none; 10.0.0.2 true 9.5s: it answers its self-queries, lease 2.5s; another program holds the xtables lock; rules
		hung: 10.0.0.1 false 1.5s: the address is not on this host any more: its lease ran out, or something removed it, lease none; 10.0.0.2 false 1.5s: the address is not on this host any more: its lease ran out, or something removed it, lease none; rules
		leaving: 10.0.0.1 false 0s: shutting down, lease 3s; 10.0.0.2 false 0s: shutting down, lease 3s; rules; leaving
		closed: nothing
		nothing owned:
		`)
	if got := strings.Join(told, "\n"); got != want {
		t.Errorf("got\n%s\n\nwant\n%s", got, want)
	}
}
