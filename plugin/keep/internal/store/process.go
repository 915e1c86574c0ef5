// SPDX-License-Identifier: Apache-2.0

// Package store holds the answers that a process keeps: in bounded memory, and in a file that outlives the process.
//
// The package knows records, files and time. It does not know how long an answer may be used: the caller says that with each
// record and each search (Limits).
package store

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	"golang.org/x/sys/unix"
)

var log = clog.NewWithPlugin("keep")

// Sizes of a store, in octets.
const (
	DefaultSize = 8 << 20
	MinSize     = 256 << 10
	MaxSize     = 1 << 30
)

// Options is what the directives of a Corefile say of the store that they share.
type Options struct {
	Dir  string // absolute path of the directory of the file; empty: memory only
	Size int    // octets, from MinSize to MaxSize
}

// A Process holds what all configurations of a process have in common. The next configuration begins before the last one ends,
// and uses the same answers.
type Process struct {
	Now     func() int64 // ns of CLOCK_BOOTTIME
	mu      sync.Mutex
	options Options
	store   atomic.Pointer[Store]
}

// Store returns the store; nil before the first Open.
func (p *Process) Store() *Store { return p.store.Load() }

// Open gives the process the store that o describes. A configuration calls Open when it starts. A new store takes over the
// answers of the last one. An error means that the kernel gives no memory; the last store stays then.
func (p *Process) Open(o Options) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.store.Load()
	if last != nil && p.options == o {
		return nil
	}
	now := p.Now()
	next, err := open(o.Dir, o.Size, now)
	if err != nil {
		return err
	}
	p.options = o
	p.store.Store(next)
	if last != nil {
		next.adopt(last, now)
	}
	return nil
}

// Close ends the store and leaves its file, as the end of the process does. Only tests need it.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.options = Options{}
	if s := p.store.Swap(nil); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.end((*file).close)
	}
	return nil
}

// A Clock reads CLOCK_BOOTTIME at a lower price than the system call. Between two calls, 10 ms apart, the Clock counts on with
// Go's clock, which stands still while the machine sleeps. The zero value is ready.
type Clock struct {
	offset  atomic.Int64 // CLOCK_BOOTTIME minus Go's clock, ns
	checked atomic.Int64 // when offset was computed, ns of Go's clock; 0: never
}

// began is the zero of Go's clock.
var began = time.Now()

// Now returns nanoseconds of CLOCK_BOOTTIME.
func (c *Clock) Now() int64 {
	now := int64(time.Since(began))
	if checked := c.checked.Load(); checked == 0 || now-checked > int64(10*time.Millisecond) {
		c.offset.Store(Boottime() - now)
		c.checked.Store(now)
	}
	return now + c.offset.Load()
}

// Boottime asks the kernel for CLOCK_BOOTTIME, in nanoseconds. A change of the time of day does not move that clock, and the
// clock goes on while the machine sleeps. The kernel answers at once, so the Go scheduler is not told of the system call.
func Boottime() int64 {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0) // fails before Linux 2.6.39 only
	return ts.Nano()
}
