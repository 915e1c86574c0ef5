// SPDX-License-Identifier: Apache-2.0

package packetcache

import "sync/atomic"

// maxIdle is the greatest number of goroutines that wait for work. The stack of each has some 32 kB, and the garbage collector
// halves the stack of one that goes on waiting.
const maxIdle = 32

// workers are goroutines that take misses to the plugins. The plugins need a deeper stack than a new goroutine has, and growing it takes
// a tenth of the time of a miss. So a goroutine that has answered a miss keeps its stack and waits for the next miss.
type workers struct {
	work chan func() // has no room: whoever receives is idle
	idle atomic.Int32
}

// run has a worker call f. It does not wait for a worker.
func (w *workers) run(f func()) {
	select {
	case w.work <- f:
	default:
		go w.begin(f)
	}
}

// begin is the life of a worker.
func (w *workers) begin(f func()) {
	for {
		f()
		if w.idle.Add(1) > maxIdle {
			w.idle.Add(-1)
			return
		}
		f = <-w.work
		w.idle.Add(-1)
	}
}
