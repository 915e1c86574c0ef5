// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestStranger has an instance that this one cannot know of, as of an older version, hold the link. Its rules stay.
func TestStranger(t *testing.T) {
	nettest.InNamespace(t)
	other := open(t, testConfig())
	if err := steerTo(other, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	other.name.Release()
	before := tables(t)
	n, err := Open(testConfig())
	if err == nil || !strings.Contains(err.Error(), "no instance of this version") {
		t.Fatalf("got %v, %v", n, err)
	}
	if after := tables(t); after != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
	other.name = nil
	closeNetwork(t, other)
}

func TestTurn(t *testing.T) {
	nettest.InNamespace(t)
	turn, err := instance.TakeTurn()
	if turn == nil || err != nil {
		t.Fatalf("%v, %v", turn, err)
	}
	if other, err := instance.TakeTurn(); other != nil || err != nil {
		t.Errorf("taken twice: %v, %v", other, err)
	}
	n := &Network{book: testBook(), firewall: &fakeFirewall{}}
	if !n.Status().TurnAwaited.IsZero() {
		t.Error("awaited before it was wanted")
	}
	begin := time.Now()
	for range 2 {
		if err := steerTo(n, n.cfg.Addresses); err != ErrTurn {
			t.Errorf("steering while another leaves: got %v", err)
		}
	}
	since := n.Status().TurnAwaited
	if since.Before(begin) || n.missed.last.Before(since) {
		t.Errorf("awaited since %s, began at %s", since, begin)
	}
	n.missed.last = n.missed.last.Add(-turnMemory - time.Second)
	if since := n.Status().TurnAwaited; !since.IsZero() {
		t.Errorf("an attempt of long ago counts: %s", since)
	}
	if _, err := n.takeTurn(); err != ErrTurn || n.missed.first != n.missed.last {
		t.Errorf("the wait does not begin anew: %v, %v", n.missed, err)
	}
	turn.Release()
	if err := steerTo(n, n.cfg.Addresses); err != nil || !n.Status().TurnAwaited.IsZero() {
		t.Errorf("after it left: got %v, awaited since %s", err, n.Status().TurnAwaited)
	}
}
