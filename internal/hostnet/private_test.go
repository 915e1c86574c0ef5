// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// threadsWith lists the threads of this process that have a descriptor of the kind, as /proc names it, and all that they have.
func threadsWith(t *testing.T, kind string) map[string][]string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/self/task/*/fd")
	if err != nil {
		t.Fatal(err)
	}
	with := map[string][]string{}
	for _, dir := range dirs {
		var has []string
		names, _ := os.ReadDir(dir) // of a thread that has just ended
		for _, name := range names {
			if what, err := os.Readlink(filepath.Join(dir, name.Name())); err == nil {
				has = append(has, what)
			}
		}
		if slices.Contains(has, kind) {
			with[dir] = has
		}
	}
	return with
}

// The link is held by a thread that has nothing else that could be missed, and whose end is the link's, too.
func TestTUNIsPrivate(t *testing.T) {
	inNamespace(t)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	link := &tun{}
	if err := link.make(DefaultInterface); err != nil {
		t.Fatal(err)
	}
	with := threadsWith(t, tunDevice)
	if len(with) != 1 {
		t.Errorf("%d threads have the link: %v", len(with), with)
	}
	for dir, has := range with {
		for _, what := range has {
			if strings.HasPrefix(what, "socket:") || strings.HasPrefix(what, "/proc/") {
				t.Errorf("%s has %s", dir, what)
			}
		}
		if !slices.Contains(has, "anon_inode:[eventpoll]") {
			t.Errorf("%s is without the runtime's poller: %v", dir, has)
		}
	}
	if _, err := server.WriteTo([]byte("x"), server.LocalAddr()); err != nil {
		t.Errorf("the process lost a socket: %v", err)
	}
	if err := link.destroy(DefaultInterface); err != nil {
		t.Error(err)
	}
	if _, err := netlink.LinkByName(DefaultInterface); err == nil {
		t.Error("the link is still there")
	}
	if with := threadsWith(t, tunDevice); len(with) > 0 {
		t.Errorf("still there: %v", with)
	}
}

// The runtime goes on to work on such a thread: it collects garbage there, and waits for timers.
func TestIsolatedThreadRuns(t *testing.T) {
	thread := newThread()
	defer thread.end()
	if err := thread.isolate(unix.Stderr); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		thread.do(func() {
			runtime.GC()
			<-time.After(time.Millisecond)
		})
	}
	thread.do(func() {
		names, err := os.ReadDir("/proc/thread-self/fd")
		if err != nil || len(names) > 8 {
			t.Errorf("%d descriptors: %v, %v", len(names), names, err)
		}
	})
}
