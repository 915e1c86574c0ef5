// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// TestJournal follows a process through its configurations.
func TestJournal(t *testing.T) {
	var j journal
	at := func(what, want string) {
		t.Helper()
		var r status.Report
		j.describe(&r)
		p := r.Process
		reload := "none"
		if p.Reload != nil {
			reload = "ok" + p.Reload.Error
		}
		if got := strings.Join([]string{p.Hash, reload, p.StandIn, p.Fault}, ", "); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	at("before the start", ", none, , ")
	j.serves([]byte("a"))
	j.standsIn(standIn{name: "the last one", fault: errors.New("Corefile:2: a\n\tfault")})
	at("stand-in", "ca978112ca1b, none, the last one, Corefile:2: a fault")
	j.serves([]byte("b"))
	j.valid()
	at("reload", "3e23e8160039, ok, , ")
	j.refused(errors.New("Corefile:3: worse"))
	at("refused", "3e23e8160039, okCorefile:3: worse, , Corefile:3: worse")
	j.valid()
	at("mended without a reload", "3e23e8160039, okCorefile:3: worse, , ")
}

// TestRunStatus asks a process with a state directory, and one with none.
func TestRunStatus(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	state := filepath.Join(dir, "state")
	conf := writeFile(t, dir, "Corefile", answering(".", "192.0.2.1", "reload 2s 0s"))
	p := startProcess(t, "-conf", conf, "-p", port, "-statedir", state, "-metrics-listen-address=")
	awaitAnswer(t, port, "192.0.2.1")
	stdout, stderr, code := result(t, program(t, "status", "-statedir", state))
	if code != 0 || !strings.HasPrefix(stdout, "All well: the cache serves; its configuration has no nodelocal, and steers nothing\n") || !strings.Contains(stdout, conf+" (hash ") {
		t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, _ := filepath.Glob(state + "/status-*"); len(left) > 0 {
		t.Errorf("left after the end: %q", left)
	}

	p = startProcess(t, "-conf", conf, "-p", port, "-statedir=", "-metrics-listen-address=")
	awaitAnswer(t, port, "192.0.2.1")
	_ = p.stop(t, syscall.SIGTERM) // the exit code is looked at above
	if n := strings.Count(p.all.String(), "nodelocaldns status gets no answer"); n != 1 {
		t.Errorf("said %d times:\n%s", n, p.all.String())
	}
}
