// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// hold takes the lock of legacy iptables on the node, as another program would, and returns what gives it back.
func hold(t *testing.T, l *lab.Lab) (release func()) {
	t.Helper()
	var f *os.File
	err := l.Node.Run(func() (err error) {
		if f, err = os.OpenFile("/run/xtables.lock", os.O_CREATE|os.O_RDONLY, 0o600); err != nil {
			return err
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_EX)
	})
	if err != nil {
		t.Fatalf("taking the lock: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return func() { f.Close() }
}

// cutSteering takes a jump to the cache's rules away in spite of the lock.
func cutSteering(t *testing.T, l *lab.Lab) {
	t.Helper()
	other := "XTABLES_LOCKFILE=" + filepath.Join(harness.Dir(t), "lock")
	l.Node.Exec(t, "", "env", other, "iptables-legacy", "-t", "raw", "-D", "PREROUTING", "-j", "NODELOCALDNS-PRE")
}

const lockErrors = "coredns_nodecache_setup_errors_total"

// TestLock lets another program hold the xtables lock at the start, while a rule is missing, for 20 s, and at the end. The
// cache waits, counts and tries again, and the node's DNS goes on.
func TestLock(t *testing.T) {
	t.Parallel()
	for _, story := range []struct {
		name string
		tell func(*testing.T, *lab.Lab, []*client.Load)
		lost int // queries that each client may lose
	}{
		{"start", lockedStart, 0},
		{"repair", lockedRepair, 0},
		{"end", lockedEnd, 1}, // rules cannot be changed: the address goes, and takes the answer on its way with it
	} {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.IPTablesLegacy)
			loads := client.StartAll(t, clients(l, lab.ClusterIP)...)
			progress(t, loads, 2)
			story.tell(t, l, loads)
			progress(t, loads, 4)
			for _, r := range stop(t, loads) {
				if len(r.Failures) > story.lost {
					t.Error(r)
				}
			}
		})
	}
}

func lockedStart(t *testing.T, l *lab.Lab, loads []*client.Load) {
	release := hold(t, l)
	c := launch(t, l, options{firewall: lab.IPTablesLegacy})
	progress(t, loads, 60)
	release()
	c.waitSteering(t, true, steeringTimeout)
}

func lockedRepair(t *testing.T, l *lab.Lab, loads []*client.Load) {
	c := start(t, l, options{firewall: lab.IPTablesLegacy})
	c.settle(t)
	release := hold(t, l)
	cutSteering(t, l)
	<-time.After(20 * time.Second) // as long as the other program takes
	if n := c.metric(t, lockErrors, `errortype="iptables_lock"`); n < 1 {
		t.Errorf("%g errors counted", n)
	}
	release()
	harness.Until(t, 10*time.Second, "repair after the lock", func() error { return has(l, "raw -A PREROUTING -j NODELOCALDNS-PRE")(t) })
	c.waitSteering(t, true, againTimeout)
}

func lockedEnd(t *testing.T, l *lab.Lab, loads []*client.Load) {
	c := start(t, l, options{firewall: lab.IPTablesLegacy})
	progress(t, loads, 4)
	release := hold(t, l)
	begin := time.Now()
	c.Signal(t, syscall.SIGTERM)
	code := c.Wait(t, 25*time.Second)
	t.Logf("the end took %s, exit code %d", time.Since(begin).Round(time.Millisecond), code)
	release()
	noLink(t, l)
}

// TestDeafLocked has the sockets hear nothing while the rules cannot be changed: the addresses go instead.
func TestDeafLocked(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesLegacy)
	c := start(t, l, options{firewall: lab.IPTablesLegacy})
	c.settle(t)
	loads := client.StartAll(t, patient(l, lab.ClusterIP)...)
	progress(t, loads, 2)
	release := hold(t, l)
	l.Node.Exec(t, fmt.Sprintf(deaf, join(ipv4), join(ipv6)), "nft", "-f", "-")
	off := c.waitSteering(t, false, offTimeout)
	progress(t, loads, 10)
	if err := has(l, "raw -A PREROUTING -j NODELOCALDNS-PRE")(t); err != nil {
		t.Errorf("the rules were changed: %v", err)
	}
	l.Node.Exec(t, "", "nft", "delete", "table", "inet", "deaf")
	release()
	on := c.waitSteering(t, true, againTimeout)
	servedAgain(t, c)
	progress(t, loads, 2)
	inTime(t, "steering off", off, hangTimeout+2*time.Second, stop(t, loads)) // a wait for the lock more
	t.Logf("steering on after %s", on)
}
