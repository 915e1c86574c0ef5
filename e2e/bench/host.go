// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// host is what the lab needs of a test, outside of one: it cleans up at the end, and ends at the first error.
type host struct {
	testing.TB // for its private method only
	undo       []func()
	failed     error
}

// giveUp unwinds to do.
type giveUp struct{}

func (h *host) Helper()                      {}
func (h *host) Failed() bool                 { return h.failed != nil }
func (h *host) Cleanup(f func())             { h.undo = append(h.undo, f) }
func (h *host) Fatalf(f string, args ...any) { h.Fatal(fmt.Sprintf(f, args...)) }
func (h *host) Logf(f string, args ...any)   { fmt.Fprintf(os.Stderr, f+"\n", args...) }

// Fatal ends what is being done.
func (h *host) Fatal(args ...any) {
	h.failed = errors.New(fmt.Sprint(args...))
	panic(giveUp{})
}

// TempDir makes a directory as a test's is, one below another of its own.
func (h *host) TempDir() string {
	parent, err := os.MkdirTemp("", "nodelocaldns-bench")
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

// do calls f, and returns what went wrong since the host began.
func (h *host) do(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil && r != (giveUp{}) {
			panic(r)
		}
		err = h.failed
	}()
	f()
	return nil
}

// end undoes all, last things first.
func (h *host) end() {
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
}
