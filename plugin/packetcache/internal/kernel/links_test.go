// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestNews has no descriptor left at first, which is said once. Then an interface goes.
func TestNews(t *testing.T) {
	nettest.InNamespace(t)
	var log []string
	logf := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	var news linkNews
	withoutDescriptors(t, func() {
		for range 3 {
			if news.open(logf) || news.updates != nil {
				t.Error("opened without a descriptor")
			}
		}
	})
	if !news.open(logf) || len(log) != 1 {
		t.Fatalf("not opened, the log says %q", log)
	}
	l := added(t, "near type veth peer name far")
	if err := netlink.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for gone := false; !gone; {
		select {
		case u := <-news.updates:
			gone = u.Header.Type == unix.RTM_DELLINK && int(u.Index) == l.Attrs().Index
		case <-deadline:
			t.Fatal("the interface has gone, and no news says so")
		}
	}
	news.close()
	news.close() // does nothing
	if news.updates != nil {
		t.Error("not closed")
	}
}

// withoutDescriptors calls f while the process can open nothing.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
