// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// The names by which instances know of each other: UDP ports at loopback addresses.
var (
	turnName  = unix.SockaddrInet4{Port: 60, Addr: [4]byte{127, 53, 0, 100}}
	slotNames = []unix.SockaddrInet4{
		{Port: 60, Addr: [4]byte{127, 53, 0, 1}}, {Port: 60, Addr: [4]byte{127, 53, 0, 2}},
		{Port: 60, Addr: [4]byte{127, 53, 0, 3}}, {Port: 60, Addr: [4]byte{127, 53, 0, 4}},
	}
)

// accusedWithin is when the log has to say who holds what the cache waits for.
const accusedWithin = 5 * time.Second

// holdName takes a name on the node, as a process of root's may, until the test ends or what it returns is called.
func holdName(t *testing.T, l *lab.Lab, at unix.SockaddrInet4) (release func()) {
	t.Helper()
	var fd int
	err := l.Node.Run(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &at)
		}
		return err
	})
	if err != nil {
		t.Fatalf("taking %v: %v", at.Addr, err)
	}
	f := os.NewFile(uintptr(fd), "name")
	t.Cleanup(func() { _ = f.Close() })
	return func() { _ = f.Close() }
}

// squatAll has a user without privileges hold all that such a user can hold on the host's network, until the test ends: abstract
// sockets of each type, with a full queue where there is one. Whatever that user tries with the names themselves has to fail.
func squatAll(t *testing.T, l *lab.Lab) {
	t.Helper()
	err := l.Node.Run(func() error {
		if err := threadUser(65534); err != nil {
			return err
		}
		err := errors.Join(squatAbstract(t), squatPorts())
		return errors.Join(err, threadUser(0))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// threadUser changes the effective user of this thread alone, and with it the thread's capabilities.
func threadUser(uid uintptr) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); errno != 0 {
		return fmt.Errorf("becoming user %d: %w", uid, errno)
	}
	return nil
}

func squatAbstract(t *testing.T) error {
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		for _, name := range []string{"turn", "0", "1", "2", "3"} {
			at := &unix.SockaddrUnix{Name: "@nodelocaldns/" + name}
			fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			if err := unix.Bind(fd, at); err != nil {
				return err
			}
			if kind != unix.SOCK_DGRAM {
				if err := unix.Listen(fd, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func squatPorts() error {
	for _, at := range append(slotNames, turnName) {
		for _, option := range []int{0, unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			if option != 0 {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1) // a refusal shows below
			}
			err = unix.Bind(fd, &at)
			_ = unix.Close(fd)
			if !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("a user without privileges takes %v: %v", at.Addr, err)
			}
		}
	}
	return nil
}

// TestSquatUnprivileged has a user without privileges hold all that such a user can before the cache starts. It starts, steers,
// repairs, and ends in the usual time, and no rule stays.
func TestSquatUnprivileged(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	squatAll(t, l)
	before := l.Node.State(t)
	c := start(t, l, options{firewall: lab.IPTablesNFT, fallback: "none"})
	c.settle(t)
	l.Node.Exec(t, "", "iptables-nft", "-t", "raw", "-F")
	harness.Until(t, 10*time.Second, "repair", func() error { return has(l, "raw -A PREROUTING -j NODELOCALDNS-PRE")(t) })
	begin := time.Now()
	c.term(t)
	if took := time.Since(begin); took > either(5*time.Second, 20*time.Second) { // 8 s if it waited for another's turn
		t.Errorf("the end took %s", took)
	}
	if left := l.Node.State(t).Without(before); len(left) > 0 {
		t.Errorf("left on the node:\n%s", left)
	}
	if strings.Contains(c.Output(), "nother instance") {
		t.Errorf("it saw an instance that is none:\n%s", c.Output())
	}
}

// TestSquatTurn has another process of root's hold the turn, as an instance does that hangs while it leaves: at the start, while
// rules are to be put back, and at the end. Each time the log says within 5 s who it is, and nobody loses an answer.
func TestSquatTurn(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	loads := client.StartAll(t, clients(l, lab.ClusterIP)...)
	release := holdName(t, l, turnName)
	c := launch(t, l, options{firewall: lab.IPTablesNFT})
	var said []time.Duration
	said = append(said, c.WaitOutput(t, 2*saidTimeout, c.accused("Rules could not be changed for 3s: another instance on this node is leaving")))
	c.waitMetric(t, saidTimeout, 1, "coredns_nodecache_setup_errors_total", `errortype="turn"`)
	release()
	c.waitSteering(t, true, againTimeout)
	c.WaitOutput(t, saidTimeout, "Resolved: the trouble with the right to change rules")
	c.settle(t)

	release = holdName(t, l, turnName)
	l.Node.Exec(t, "", "iptables-nft", "-t", "raw", "-F")
	said = append(said, harness.Until(t, 2*saidTimeout, "second line", func() error {
		if n := strings.Count(c.Output(), "Rules could not be changed"); n != 2 {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	}))
	c.waitSteering(t, false, saidTimeout) // the metric says what the kernel has
	release()
	c.waitSteering(t, true, againTimeout)
	harness.Until(t, 10*time.Second, "repair", func() error { return has(l, "raw -A PREROUTING -j NODELOCALDNS-PRE")(t) })
	progress(t, loads, 2)

	release = holdName(t, l, turnName)
	c.Signal(t, syscall.SIGTERM)
	said = append(said, c.WaitOutput(t, 2*saidTimeout, c.accused("Still waiting to take steering away after 3s: another instance on this node is leaving")))
	release()
	if code := c.Wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	progress(t, loads, 2)
	reports := stop(t, loads)
	noFailure(t, reports)
	for _, took := range said {
		inTime(t, "the line about who holds the turn", took, accusedWithin, reports)
	}
}

// accused is the line with the test's own process as the one who holds the turn.
func (c *cache) accused(line string) string {
	return fmt.Sprintf("%s: udp 127.53.0.100:60 is held by pid %d (", line, os.Getpid())
}

// TestSquatSlots has another process of root's hold the names of instances: all of them, and one.
func TestSquatSlots(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	var release []func()
	for _, at := range slotNames {
		release = append(release, holdName(t, l, at))
	}
	c := launch(t, l, options{firewall: lab.IPTablesNFT})
	if code := c.Wait(t, steeringTimeout); code != 1 {
		t.Errorf("exit code %d", code)
	}
	who := fmt.Sprintf("udp 127.53.0.1:60 is held by pid %d (", os.Getpid())
	if text := c.Errors(); !strings.Contains(text, "the names of all 4 instances that may run in this network namespace are taken: "+who) {
		t.Errorf("said: %s", text)
	}
	release[0]()
	release[1]()
	release[2]()
	c = start(t, l, options{firewall: lab.IPTablesNFT})
	c.WaitOutput(t, saidTimeout, fmt.Sprintf("Another instance runs on this node: udp 127.53.0.4:60 is held by pid %d (", os.Getpid()))
	c.term(t)
}
