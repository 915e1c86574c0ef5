// SPDX-License-Identifier: Apache-2.0

package instance

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

func TestClaims(t *testing.T) {
	nettest.InNamespace(t)
	slot, a, err := TakeSlot()
	if slot != 0 || a == nil || err != nil {
		t.Fatalf("first: %d, %v, %v", slot, a, err)
	}
	if n := Peers(0); n != 0 {
		t.Errorf("alone, and %d peers", n)
	}
	slot, b, err := TakeSlot()
	if slot != 1 || err != nil {
		t.Fatalf("second: %d, %v", slot, err)
	}
	if Peers(0) != 1 || Peers(1) != 1 {
		t.Errorf("two instances see %d and %d peers", Peers(0), Peers(1))
	}
	a.Release()
	if n := Peers(1); n != 0 {
		t.Errorf("the first is gone, and %d peers", n)
	}
	if slot, c, _ := TakeSlot(); slot != 0 {
		t.Errorf("the free number is 0, got %d", slot)
	} else {
		c.Release()
	}
	b.Release()
}

func TestTooManyInstances(t *testing.T) {
	nettest.InNamespace(t)
	for range Max {
		if _, c, err := TakeSlot(); err != nil {
			t.Fatal(err)
		} else {
			defer c.Release()
		}
	}
	_, _, err := TakeSlot()
	want := "the names of all 4 instances that may run in this network namespace are taken: " + slotName(0).holder() + "; "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(want, fmt.Sprintf("held by pid %d (", os.Getpid())) {
		t.Errorf("got %v, want it to begin with %s", err, want)
	}
}

// TestClaimsAreForRoot has a process without privileges try to take the names, and hold all that
// such a process can.
func TestClaimsAreForRoot(t *testing.T) {
	nettest.InNamespace(t)
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
		c.Release()
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
	nettest.InNamespace(t)
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
				slot, c, err := TakeSlot()
				if err != nil {
					t.Error(err)
					return
				}
				if !slotName(slot).isTaken() {
					t.Errorf("number %d is free while it is held", slot)
				}
				if turn, err := TakeTurn(); err != nil {
					t.Error(err)
				} else if turn != nil {
					if turns.Add(1) != 1 {
						t.Error("two have the turn")
					}
					got[i]++
					turns.Add(-1)
					turn.Release()
				}
				c.Release()
			}
		})
	}
	member(func() {
		for int(done.Load()) < len(got) {
			if n := Peers(-1); n > len(got) {
				t.Errorf("%d of %d", n, len(got))
			}
		}
	})
	wg.Wait()
	if n := Peers(-1); n != 0 {
		t.Errorf("%d are left", n)
	}
}
