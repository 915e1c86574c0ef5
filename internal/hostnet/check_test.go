// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// finding prints what a Check says, without the names of processes.
func finding(n *Network, thorough bool) string {
	f, err := n.Check(thorough)
	if f.Peers != "" {
		f.Peers = "a peer"
	}
	f.By = regexp.MustCompile(`\d+`).ReplaceAllString(f.By, "PID")
	return fmt.Sprintf("%+v %v", f, err != nil)
}

// TestCheck has somebody flush the rules, first while they can be put back and then while they cannot.
func TestCheck(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	age(n)
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	locked := &lockedFirewall{Firewall: n.firewall}
	n.firewall = locked
	for i, step := range []struct {
		flush string
		err   error
		want  string
		state State
	}{
		{"true", nil, "{Peers: Skipped:false Broken:[] By: Bare:false} false", Steered},
		{"nft delete table ip " + fallback.Name, nil, "{Peers: Skipped:false Broken:[fallback] By:nft (pid PID) Bare:false} false", Steered},
		{"nft flush ruleset", ErrLocked, "{Peers: Skipped:false Broken:[rules fallback] By:nft (pid PID) Bare:true} true", Steered},
		{"true", ErrLocked, "{Peers: Skipped:false Broken:[rules] By:nft (pid PID) Bare:true} true", Steered},
		{"true", nil, "{Peers: Skipped:false Broken:[rules] By:nft (pid PID) Bare:false} false", Settling},
		{"true", nil, "{Peers: Skipped:false Broken:[] By: Bare:false} false", Settling},
	} {
		nettest.Command(t, "sh", "-c", step.flush)
		if step.flush == "nft flush ruleset" { // an answer leaves without rules
			nettest.Command(t, "conntrack", "-I", "-s", "10.96.0.10", "-d", "10.244.1.2", "-p", "udp", "--sport", "53", "--dport", "40000", "-t", "60")
		}
		locked.err = step.err
		if got := finding(n, i%2 == 0); got != step.want {
			t.Errorf("%d: got  %s\nwant %s", i, got, step.want)
		}
		if got := n.Status().Addresses[0].State; got != step.state {
			t.Errorf("%d: it is %s, want %s", i, got, step.state)
		}
		if err := steerTo(n, testConfig().Addresses); err != nil { // nothing to change: what is broken is Check's
			t.Errorf("%d: %v", i, err)
		}
	}
	if left := nettest.Command(t, "conntrack", "-L"); strings.Contains(left, "dport=40000") {
		t.Errorf("the answer's connection is left:\n%s", left)
	}
}

// TestCheckBesideAPeer has another instance come and go.
func TestCheckBesideAPeer(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	other := open(t, testConfig())
	const skipped = "{Peers:a peer Skipped:true Broken:[] By: Bare:false} false"
	for _, thorough := range []bool{false, true} {
		if got := finding(n, thorough); got != skipped {
			t.Errorf("it steers nothing, thorough %t: %s", thorough, got)
		}
	}
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	if got := finding(n, false); got != skipped {
		t.Errorf("it steers: %s", got)
	}
	if got := finding(n, true); got != "{Peers:a peer Skipped:false Broken:[] By: Bare:false} false" {
		t.Errorf("a thorough look: %s", got)
	}
	if f, err := n.Check(true); err != nil || !strings.HasPrefix(f.Peers, "udp 127.53.0.2:60 is held by pid ") {
		t.Errorf("%+v, %v", f, err)
	}
	leaving := quietly(time.Second)
	leaving.Heard = true
	if err := other.Leave(leaving); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Check(true); !errors.Is(err, ErrTurn) {
		t.Errorf("while the other leaves: %v", err)
	}
	closeNetwork(t, other)
	for _, want := range []string{
		"{Peers: Skipped:false Broken:[rules fallback] By: Bare:false} false", // by this process, too
		"{Peers: Skipped:false Broken:[] By: Bare:false} false",
	} {
		if got := finding(n, false); got != want {
			t.Errorf("alone again: got %s\nwant %s", got, want)
		}
	}
}

// TestLeaveCalls has the rules be locked for a while: it waits, then says that steering is off, before the queues are drained.
func TestLeaveCalls(t *testing.T) {
	nettest.InNamespace(t)
	var j journal
	n := &Network{book: testBook(), link: fakeLink{&j}, slot: 3}
	n.addrs[0].State = Steered
	locked := &fakeFirewall{err: ErrLocked}
	n.firewall = locked
	var off time.Time
	err := n.Leave(Leaving{
		Patience: 10 * time.Second,
		Waiting:  func(err error) { j.add("waiting: %t", errors.Is(err, ErrLocked)); locked.err = nil },
		Off:      func() { j.add("off"); off = time.Now() },
	})
	took := time.Since(off)
	j = withoutRenewals(j)
	if want := "yield\nwaiting: true\nyield\noff"; err != nil || j.String() != want {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, j, want)
	}
	if took < drainMin || len(n.steered()) > 0 {
		t.Errorf("it ended %s after it said that steering is off, and it steers %v", took, n.steered())
	}
	closeNetwork(t, n)
}

func withoutRenewals(j journal) (out journal) {
	for _, line := range j {
		if !strings.HasPrefix(line, "addresses ") {
			out = append(out, line)
		}
	}
	return out
}
