// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"testing"
)

// host is what the lab needs of a test, outside of one: it cleans up at the end, and ends at the first error.
type host struct {
	testing.TB // for its private method only
	undo       []func()
	failed     bool
}

// giveUp unwinds to main.
type giveUp struct{}

func (h *host) Helper()                      {}
func (h *host) Failed() bool                 { return h.failed }
func (h *host) Cleanup(f func())             { h.undo = append(h.undo, f) }
func (h *host) Fatalf(f string, args ...any) { h.Fatal(fmt.Sprintf(f, args...)) }
func (h *host) Skipf(f string, args ...any)  { h.Fatal(fmt.Sprintf(f, args...)) }
func (h *host) Logf(f string, args ...any)   { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (h *host) Errorf(f string, args ...any) { h.failed = true; h.Logf(f, args...) }

// Fatal ends the measurement.
func (h *host) Fatal(args ...any) {
	h.failed = true
	fmt.Fprintln(os.Stderr, args...)
	panic(giveUp{})
}

// TempDir makes a directory as a test's is, one below another of its own.
func (h *host) TempDir() string {
	parent, err := os.MkdirTemp("", "nodelocaldns-cost")
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

// cleanup undoes all, last things first, and sets the exit code.
func (h *host) cleanup(code *int) {
	if r := recover(); r != nil {
		if _, ok := r.(giveUp); !ok {
			panic(r)
		}
	}
	if h.failed {
		*code = 1
	}
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
}
