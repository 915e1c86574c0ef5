// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// holdLock holds the xtables lock until the test ends.
func holdLock(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

func TestClaims(t *testing.T) {
	inNamespace(t)
	slot, a, err := takeSlot()
	if slot != 0 || a == nil || err != nil {
		t.Fatalf("first: %d, %v, %v", slot, a, err)
	}
	if n := peers(0); n != 0 {
		t.Errorf("alone, and %d peers", n)
	}
	slot, b, err := takeSlot()
	if slot != 1 || err != nil {
		t.Fatalf("second: %d, %v", slot, err)
	}
	if peers(0) != 1 || peers(1) != 1 {
		t.Errorf("two instances see %d and %d peers", peers(0), peers(1))
	}
	a.release()
	if n := peers(1); n != 0 {
		t.Errorf("the first is gone, and %d peers", n)
	}
	if slot, c, _ := takeSlot(); slot != 0 {
		t.Errorf("the free number is 0, got %d", slot)
	} else {
		c.release()
	}
	b.release()
}

func TestTooManyInstances(t *testing.T) {
	inNamespace(t)
	for range maxInstances {
		if _, c, err := takeSlot(); err != nil {
			t.Fatal(err)
		} else {
			defer c.release()
		}
	}
	_, _, err := takeSlot()
	want := "the names of all 4 instances that may run in this network namespace are taken: " + slotName(0).holder() + "; "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(want, fmt.Sprintf("held by pid %d (", os.Getpid())) {
		t.Errorf("got %v, want it to begin with %s", err, want)
	}
}

// TestStranger has an instance that this one cannot know of, as of an older version, hold the link. Its rules stay.
func TestStranger(t *testing.T) {
	inNamespace(t)
	other := open(t, testConfig())
	if err := other.Steer(testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	other.claims[0].release()
	before := tables(t)
	n, err := Open(testConfig())
	if err == nil || !strings.Contains(err.Error(), "no instance of this version") {
		t.Fatalf("got %v, %v", n, err)
	}
	if after := tables(t); after != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
	other.claims = nil
	closeNetwork(t, other)
}

// TestClaimsAreForRoot has a process without privileges try to take the names, and hold all that
// such a process can.
func TestClaimsAreForRoot(t *testing.T) {
	inNamespace(t)
	asNobody(t, func() {
		for _, n := range []name{turnName, slotName(0)} {
			if _, err := n.take(); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "NET_BIND_SERVICE") {
				t.Errorf("%s: got %v", n.at(), err)
			}
			if _, err := n.bind(true); !errors.Is(err, unix.EACCES) {
				t.Errorf("%s is looked at: got %v", n.at(), err)
			}
		}
	})
	for _, n := range []name{turnName, slotName(0)} {
		c, err := n.take()
		if c == nil || err != nil {
			t.Fatalf("%s: %v, %v", n.at(), c, err)
		}
		comm, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("is held by pid %d (%s), user 0", os.Getpid(), strings.TrimSpace(string(comm))); !strings.HasSuffix(n.holder(), want) {
			t.Error(n.holder())
		}
		c.release()
		if !strings.HasPrefix(n.holder(), "nobody holds") {
			t.Error(n.holder())
		}
	}
}

// asNobody runs f without privileges on this thread, which is not used again.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody = 65534
	set := func(uid uintptr) {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
	}
	set(nobody) // of the thread alone, and with it its effective capabilities
	defer set(0)
	f()
}

// TestClaimsRace has three instances take the turn, and numbers, 1,000 times, while a fourth looks at all of them.
func TestClaimsRace(t *testing.T) {
	inNamespace(t)
	var wg sync.WaitGroup
	var turns, done atomic.Int32
	var got [3]int
	rounds := 1000
	if os.Getenv("NODELOCALDNS_EMULATED") != "" {
		rounds = 50
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	member := func(f func()) {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked
			if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
				t.Error(err)
				return
			}
			f()
		})
	}
	for i := range got {
		member(func() {
			defer done.Add(1)
			for got[i] < rounds && !t.Failed() {
				slot, c, err := takeSlot()
				if err != nil {
					t.Error(err)
					return
				}
				if !slotName(slot).isTaken() {
					t.Errorf("number %d is free while it is held", slot)
				}
				if turn, err := takeTurn(); err != nil {
					t.Error(err)
				} else if turn != nil {
					if turns.Add(1) != 1 {
						t.Error("two have the turn")
					}
					got[i]++
					turns.Add(-1)
					turn.release()
				}
				c.release()
			}
		})
	}
	member(func() {
		for int(done.Load()) < len(got) {
			if n := peers(-1); n > len(got) {
				t.Errorf("%d of %d", n, len(got))
			}
		}
	})
	wg.Wait()
	if n := peers(-1); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestParseSocket(t *testing.T) {
	for line, want := range map[string]string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops":                              "",
		" 1055: 0A14FEA9:0035 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 28187 2 0000000000000000 0":                          "169.254.20.10:53 true 768 0 28187",
		"   23: 0100007F:0277 0200007F:D431 01 00000000:00000000 00:00000000 00000000 65534        0 9 1":                                                 "127.0.0.1:631 false 0 65534 9",
		"  10: 000000FD000000000000000010000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 101 0 7 2 0000000 0": "[fd00::10]:53 true 0 101 7",
		" 1: 0A14FE:0035 00000000:0000 07 0:0 0:0 0 0 0 1 2":                                                                                              "",
		" 1: 0A14FEA9:0035 00000000:0000 07 0:0 0:0 0 root 0 1 2 0":                                                                                       "",
	} {
		s, ok := parseSocket(strings.Fields(line))
		got := ""
		if ok {
			got = fmt.Sprint(s.local, s.bound, s.queue, s.uid, s.inode)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

func TestTurn(t *testing.T) {
	inNamespace(t)
	turn, err := takeTurn()
	if turn == nil || err != nil {
		t.Fatalf("%v, %v", turn, err)
	}
	if other, err := takeTurn(); other != nil || err != nil {
		t.Errorf("taken twice: %v, %v", other, err)
	}
	n := &Network{cfg: testConfig(), firewall: &fakeFirewall{}}
	if !n.TurnAwaited().IsZero() {
		t.Error("awaited before it was wanted")
	}
	begin := time.Now()
	for range 2 {
		if err := n.Steer(nil); err != ErrTurn {
			t.Errorf("steering while another leaves: got %v", err)
		}
	}
	since := n.TurnAwaited()
	if since.Before(begin) || n.missed.last.Before(since) {
		t.Errorf("awaited since %s, began at %s", since, begin)
	}
	n.missed.last = n.missed.last.Add(-turnMemory - time.Second)
	if since := n.TurnAwaited(); !since.IsZero() {
		t.Errorf("an attempt of long ago counts: %s", since)
	}
	if _, err := n.takeTurn(); err != ErrTurn || n.missed.first != n.missed.last {
		t.Errorf("the wait does not begin anew: %v, %v", n.missed, err)
	}
	turn.release()
	if err := n.Steer(nil); err != nil || !n.TurnAwaited().IsZero() {
		t.Errorf("after it left: got %v, awaited since %s", err, n.TurnAwaited())
	}
}
