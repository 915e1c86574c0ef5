// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// standstill is for how long nothing has to run until that counts: less than a lease can be late with its renewal.
const standstill = 1500 * time.Millisecond

type witness struct {
	mu   sync.Mutex
	seen []Window
}

var standstills witness

// Standstills are the times, since Main began, in which the whole machine did not run: a hypervisor gave its processors to
// another, or the emulator had none. What a thread with nothing to do notices when it wakes up too late is of that kind: among
// programs that are busy, however many, it would have had its turn.
func Standstills() []Window {
	standstills.mu.Lock()
	defer standstills.mu.Unlock()
	return slices.Clone(standstills.seen)
}

// watch sleeps on a thread of its own, without Go's scheduler and its timers.
func (w *witness) watch() {
	runtime.LockOSThread()
	for last := time.Now(); ; {
		nap := syscall.NsecToTimespec(int64(10 * time.Millisecond))
		_ = syscall.Nanosleep(&nap, nil) // where a signal ends it early, the next one follows
		now := time.Now()
		if now.Sub(last) > standstill {
			w.mu.Lock()
			w.seen = append(w.seen, Window{last, now})
			w.mu.Unlock()
		}
		last = now
	}
}
