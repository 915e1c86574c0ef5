// SPDX-License-Identifier: Apache-2.0

// Package harness has what an end-to-end test needs of its machine: the programs that it runs, files, and waiting. Host stands
// in for the test in programs that are not tests.
package harness

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// Host stands in for a testing.TB in a program that is not a test. The zero value is ready for use.
type Host struct {
	testing.TB // nil; it is here for the private method of the interface
	undo       []func()
	failed     error
}

// giveUp is the value of the panic by which Fatalf returns to Do.
type giveUp struct{}

// Helper does nothing.
func (h *Host) Helper() {}

// Failed reports whether anything went wrong.
func (h *Host) Failed() bool { return h.failed != nil }

// Cleanup has End call f.
func (h *Host) Cleanup(f func()) { h.undo = append(h.undo, f) }

// Logf writes a line to standard error.
func (h *Host) Logf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }

// Errorf records an error. The caller goes on.
func (h *Host) Errorf(f string, args ...any) {
	h.failed = errors.Join(h.failed, fmt.Errorf(f, args...))
}

// Fatalf records an error and ends the function that Do runs.
func (h *Host) Fatalf(f string, args ...any) {
	h.Errorf(f, args...)
	panic(giveUp{})
}

// Fatal is Fatalf.
func (h *Host) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }

// Skipf is Fatalf: a program has to do all that it is asked for.
func (h *Host) Skipf(f string, args ...any) { h.Fatalf(f, args...) }

// TempDir makes a directory below another new one, as that of a test is.
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

// Do calls f, and returns all errors since the Host was made.
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

// End calls the functions that Cleanup was given, the last one first.
func (h *Host) End() {
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
}

// With runs a function that needs a host, in a program that is not a test, and returns the errors of the host. The processes and
// namespaces of the host have ended then.
func With(f func(h *Host)) error {
	remove, err := Setup()
	if err != nil {
		return err
	}
	defer remove()
	h := &Host{}
	defer h.End()
	return h.Do(func() { f(h) })
}
