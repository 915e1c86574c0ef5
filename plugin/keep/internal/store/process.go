// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process is what all configurations have in common. The next configuration begins before the last one has
// ended, and is to know what that one knows.
type process struct {
	now     func() int64 // ns of CLOCK_BOOTTIME
	mu      sync.Mutex
	options options
	store   atomic.Pointer[store]
}

// shared outlives reloads.
var shared = process{now: new(bootClock).now}

// open makes the store what o says. It is called when a configuration starts.
func (p *process) open(o options) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.store.Load()
	if last != nil && p.options == o {
		return nil
	}
	now := p.now()
	next, err := openStore(o.Dir, o.Size, now)
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

// A bootClock is CLOCK_BOOTTIME, for less than the system call that it costs: it counts on with Go's clock, which
// stands still while the machine sleeps, and asks the kernel again after 10 ms.
type bootClock struct {
	offset  atomic.Int64 // of CLOCK_BOOTTIME from Go's clock, ns
	checked atomic.Int64 // when it was found, ns of Go's clock; 0: never
}

// began is the zero of Go's clock.
var began = time.Now()

func (c *bootClock) now() int64 {
	now := int64(time.Since(began))
	if checked := c.checked.Load(); checked == 0 || now-checked > int64(10*time.Millisecond) {
		c.offset.Store(boottime() - now)
		c.checked.Store(now)
	}
	return now + c.offset.Load()
}

// boottime returns CLOCK_BOOTTIME in nanoseconds: no change of the time of day moves it, and it goes on while the
// machine sleeps. The kernel answers at once, so that the scheduler need not be told.
func boottime() int64 {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0) // fails before Linux 2.6.39 only
	return ts.Nano()
}
