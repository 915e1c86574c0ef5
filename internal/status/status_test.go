// SPDX-License-Identifier: Apache-2.0

package status

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestReload has the next configuration provide before the last one withdraws.
func TestReload(t *testing.T) {
	last := Provide("part", func(r *Report) { r.Busiest = &Busiest{Queries: 1} })
	next := Provide("part", func(r *Report) { r.Busiest = &Busiest{Queries: 2} })
	last()
	if r := Collect(); r.Busiest == nil || r.Busiest.Queries != 2 {
		t.Errorf("got %+v", r.Busiest)
	}
	next()
	if r := Collect(); r.Busiest != nil {
		t.Errorf("withdrawn, and there is %+v", r.Busiest)
	}
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	defer Provide("part", func(r *Report) { r.Busiest = &Busiest{Queries: 7} })()
	one, err := Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	live, err := Sockets(dir)
	if len(live) != 2 || err != nil {
		t.Fatalf("sockets: %v, %v; want two", live, err)
	}
	for _, path := range live {
		if r, err := Ask(path); err != nil || r.Busiest == nil || r.Busiest.Queries != 7 {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want it for its owner alone", path, info.Mode(), err)
		}
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if live, err = Sockets(dir); len(live) != 1 || err != nil {
		t.Errorf("sockets: %v, %v; want one", live, err)
	}
}

// TestDeadSocket has a process end without closing.
func TestDeadSocket(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "status-1.sock")
	deadSocket(t, dead)
	if live, err := Sockets(dir); len(live) != 0 || err != nil {
		t.Errorf("sockets: %v, %v", live, err)
	}
	if _, err := Ask(dead); err == nil {
		t.Error("nobody answered, without an error")
	}
	if _, err := os.Stat(dead); err != nil {
		t.Errorf("a look has changed something: %v", err)
	}
	s, err := Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(dead); err == nil {
		t.Error("the socket of a process that has gone is left")
	}
}

// deadSocket leaves a socket at path at which nobody listens.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}
