// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"os"
	"testing"

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
	if _, _, err := takeSlot(); err == nil || err.Error() != "4 instances run in this network namespace already" {
		t.Errorf("got %v", err)
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
	if err := n.Steer(nil); err != ErrTurn {
		t.Errorf("steering while another leaves: got %v", err)
	}
	turn.release()
	if err := n.Steer(nil); err != nil {
		t.Errorf("after it left: got %v", err)
	}
}
