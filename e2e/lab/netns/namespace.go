// SPDX-License-Identifier: Apache-2.0

// Package netns makes network namespaces that end with the test process, connects them, and reads what is configured in them:
// links, addresses, rules, tracked connections.
package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// Namespace is a network and mount namespace that belongs to one thread of the test process. It has no name in the file system,
// so the kernel removes it, with all that is in it, when the process ends, also by SIGKILL.
type Namespace struct {
	Name    string
	calls   chan func() // nil: of Here
	Handle  netns.NsHandle
	Netlink *netlink.Handle
}

// New makes a namespace that lives until the end of the test. Its loopback link is up. Its /run is empty, so it has a lock of
// xtables of its own.
func New(t testing.TB, name string) *Namespace {
	t.Helper()
	n := &Namespace{Name: name, calls: make(chan func())}
	ready, gone := make(chan error), make(chan struct{})
	go n.own(ready, gone)
	if err := <-ready; err != nil {
		t.Fatalf("making the namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		close(n.calls)
		<-gone
		n.Netlink.Close()
		n.Handle.Close()
	})
	return n
}

// own makes the namespace and runs all calls in it, on one thread. The goroutine never unlocks the thread, so the thread ends
// with the goroutine.
func (n *Namespace) own(ready chan<- error, gone chan<- struct{}) {
	runtime.LockOSThread()
	defer close(gone)
	if err := n.unshare(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	for call := range n.calls {
		call()
	}
}

func (n *Namespace) unshare() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unsharing: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	if n.Handle, err = netns.GetFromPath("/proc/thread-self/ns/net"); err != nil {
		return fmt.Errorf("opening the namespace: %w", err)
	}
	if n.Netlink, err = netlink.NewHandle(); err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	lo, err := n.Netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("looking up lo: %w", err)
	}
	return n.Netlink.LinkSetUp(lo)
}

// Here is the namespace that the process is in. Its Handle and Netlink are not set.
func Here(name string) *Namespace { return &Namespace{Name: name} }

// Run calls f on the namespace's thread. There f sees the namespace's network, /proc/sys/net and mounts. One f runs at a time.
// f must not end the test.
func (n *Namespace) Run(f func() error) error {
	if n.calls == nil {
		return f()
	}
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}

// Sysctl sets a variable of the namespace, as "net.ipv4.ip_forward".
func (n *Namespace) Sysctl(t testing.TB, key, value string) {
	t.Helper()
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	if err := n.Run(func() error { return os.WriteFile(path, []byte(value), 0) }); err != nil {
		t.Fatalf("setting %s in %s: %v", key, n.Name, err)
	}
}

// Mask mounts the file or directory source over target. Only the namespace's processes see it.
func (n *Namespace) Mask(t testing.TB, target, source string) {
	t.Helper()
	err := n.Run(func() error { return unix.Mount(source, target, "", unix.MS_BIND, "") })
	if err != nil {
		t.Fatalf("mounting %s on %s in %s: %v", source, target, n.Name, err)
	}
}

// ResolvConf gives the namespace's processes an /etc/resolv.conf of their own.
func (n *Namespace) ResolvConf(t testing.TB, text string) {
	t.Helper()
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		t.Fatalf("looking for resolv.conf: %v", err)
	}
	if strings.HasPrefix(target, "/run/") {
		err = n.Run(func() error {
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return os.WriteFile(target, []byte(text), 0o644)
		})
		if err != nil {
			t.Fatalf("writing resolv.conf: %v", err)
		}
		return
	}
	n.Mask(t, target, harness.WriteFile(t, "resolv.conf", text))
}
