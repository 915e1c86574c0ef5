// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// private moves a descriptor into a table of descriptors that one thread has
// for itself, and returns what closes it there. After an error the descriptor is
// where it was.
//
// The kernel ends a killed process thread by thread. The table that they share
// is closed by the last of them, after the process's memory (do_exit of
// kernel/exit.c): that takes milliseconds, and where no CPU is free hundreds of
// them. What one thread has for itself goes once that thread has run.
func private(fd int) (release func() error, err error) {
	t := newThread()
	if err := t.isolate(fd); err != nil {
		t.end()
		return nil, err
	}
	_ = unix.Close(fd) // the thread's holds what it is for
	return func() (err error) {
		t.do(func() { err = unix.Close(fd) })
		t.end()
		return err
	}, nil
}

// isolate gives the thread a table of its own, with copies of fd and of what it
// cannot do without.
func (t thread) isolate(fd int) error {
	var tid int
	t.do(func() { tid = unix.Gettid() })
	// Opened before there are two tables: that starts the runtime's poller, if nothing has, and its descriptors belong into both.
	dir, err := os.Open(fmt.Sprintf("/proc/self/task/%d/fd", tid))
	if err != nil {
		return err
	}
	defer dir.Close()
	t.do(func() { err = unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_UNSHARE) })
	if err != nil {
		return fmt.Errorf("close_range: %w", err) // before Linux 5.9
	}
	others, err := dispensable(dir, fd)
	if err != nil {
		return err
	}
	t.do(func() {
		for _, other := range others {
			_ = unix.Close(other) // the process has another
		}
	})
	return nil
}

// dispensable lists what a thread has in its table beside fd, the standard
// streams, and what the runtime uses on any thread. dir is the thread's
// directory of descriptors.
func dispensable(dir *os.File, fd int) ([]int, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var others []int
	poller := false
	for _, name := range names {
		n, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", dir.Name(), err)
		}
		if n <= unix.Stderr || n == fd {
			continue
		}
		what, err := os.Readlink(filepath.Join(dir.Name(), name))
		if err != nil {
			return nil, err
		}
		switch what {
		case "anon_inode:[eventpoll]":
			poller = true
		case "anon_inode:[eventfd]": // wakes the poller
		default:
			others = append(others, n)
		}
	}
	if !poller {
		return nil, errors.New("the runtime has no poller")
	}
	return others, nil
}

// A thread is one of the kernel's that runs nothing but what it is given.
type thread struct{ calls chan func() }

// newThread makes one. It is not the main thread, which cannot end, and whose
// table of descriptors is what /proc shows as the process's.
func newThread() thread {
	t := thread{make(chan func())}
	t.start()
	return t
}

func (t thread) start() {
	locked := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			t.start() // on another, as this one is taken
			runtime.UnlockOSThread()
			close(locked)
			return
		}
		close(locked)
		for f := range t.calls {
			f()
		}
	}() // still locked: the thread ends with the function
	<-locked
}

// do runs f on the thread and waits for its end.
func (t thread) do(f func()) {
	done := make(chan struct{})
	t.calls <- func() {
		f()
		close(done)
	}
	<-done
}

// end ends the thread.
func (t thread) end() { close(t.calls) }
