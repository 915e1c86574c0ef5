// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// Host is what the lab needs of a test, for programs that are none: the zero value is ready.
type Host struct {
	testing.TB // for its private method only
	undo       []func()
	failed     error
}

// giveUp unwinds to Do.
type giveUp struct{}

// Helper does nothing.
func (h *Host) Helper() {}

// Failed reports whether anything went wrong.
func (h *Host) Failed() bool { return h.failed != nil }

// Cleanup has End call f.
func (h *Host) Cleanup(f func()) { h.undo = append(h.undo, f) }

// Logf writes a line to standard error.
func (h *Host) Logf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }

// Errorf notes an error, and goes on.
func (h *Host) Errorf(f string, args ...any) {
	h.failed = errors.Join(h.failed, fmt.Errorf(f, args...))
}

// Fatalf ends what Do does.
func (h *Host) Fatalf(f string, args ...any) {
	h.Errorf(f, args...)
	panic(giveUp{})
}

// Fatal is Fatalf.
func (h *Host) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }

// Skipf is Fatalf: what was asked for is not left out.
func (h *Host) Skipf(f string, args ...any) { h.Fatalf(f, args...) }

// TempDir makes a directory as a test's is, one below another of its own.
func (h *Host) TempDir() string {
	parent, err := os.MkdirTemp("", "nodelocaldns")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(parent) })
	dir := parent + "/001"
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.Fatal(err)
	}
	return dir
}

// Do calls f, and returns all that went wrong since the host began.
func (h *Host) Do(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil && r != (giveUp{}) {
			panic(r)
		}
		err = h.failed
	}()
	f()
	return nil
}

// End undoes all, last things first.
func (h *Host) End() {
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
}
