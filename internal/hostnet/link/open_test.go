// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// A container that does not mount the device's file makes one of its own, which nobody sees afterwards.
func TestTUNWithoutFile(t *testing.T) {
	nettest.InNamespace(t)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		at, kind string
		flags    uintptr
	}{{"/", "", unix.MS_REC | unix.MS_PRIVATE}, {"/dev", "tmpfs", unix.MS_NOSUID}} {
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	link := &tun{}
	if err := link.make("nodelocaldns"); err != nil {
		t.Fatal(err)
	}
	if made, err := netlink.LinkByName("nodelocaldns"); err != nil || made.Type() != "tuntap" {
		t.Errorf("made %v, %v", made, err)
	}
	if err := link.destroy("nodelocaldns"); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob("/dev/*"); err != nil || len(left) != 0 {
		t.Errorf("left in /dev: %v, %v", left, err)
	}
}

// TestUninterrupted has lists that are interrupted some times, always, and that fail.
func TestUninterrupted(t *testing.T) {
	broken := errors.New("no such file")
	for name, tc := range map[string]struct {
		errs []error // of the attempts; the last one goes on
		want error
		read int
	}{
		"at once":   {[]error{nil}, nil, 1},
		"later":     {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, nil, 3},
		"never":     {[]error{netlink.ErrDumpInterrupted}, netlink.ErrDumpInterrupted, 5},
		"it fails":  {[]error{broken}, broken, 1},
		"and fails": {[]error{netlink.ErrDumpInterrupted, broken}, broken, 2},
	} {
		read := 0
		got, err := Uninterrupted(func() ([]int, error) {
			read++
			return []int{read}, tc.errs[min(read, len(tc.errs))-1]
		})
		if !errors.Is(err, tc.want) || read != tc.read || len(got) != 1 || got[0] != read {
			t.Errorf("%s: %v, %v after %d attempts, want %v after %d", name, got, err, read, tc.want, tc.read)
		}
	}
}
