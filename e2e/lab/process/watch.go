// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Needs is how much of each resource a process has at a moment, or the most that a Watch has seen.
type Needs struct {
	RSS        int64 // octets
	Goroutines int
	Files      int // open file descriptors
	Threads    int
}

// String is a line for the log.
func (n Needs) String() string {
	return fmt.Sprintf("RSS %d MB, %d goroutines, %d files, %d threads", n.RSS>>20, n.Goroutines, n.Files, n.Threads)
}

func (n Needs) most(other Needs) Needs {
	return Needs{
		RSS: max(n.RSS, other.RSS), Goroutines: max(n.Goroutines, other.Goroutines),
		Files: max(n.Files, other.Files), Threads: max(n.Threads, other.Threads),
	}
}

// Watch samples a process.
type Watch struct {
	process    *Process
	page       func() (string, error)
	stop, done chan struct{}
	most       Needs
}

// sampleInterval is the time between two samples.
const sampleInterval = 100 * time.Millisecond

// Watch begins to sample the needs of the process; page fetches its metrics.
func (p *Process) Watch(t testing.TB, page func() (string, error)) *Watch {
	t.Helper()
	w := &Watch{process: p, page: page, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	t.Cleanup(func() { w.Stop() })
	return w
}

// Stop ends the watch and returns the most that was seen of each resource.
func (w *Watch) Stop() Needs {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	<-w.done
	return w.most
}

func (w *Watch) run() {
	defer close(w.done)
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		w.most = w.most.most(w.process.Needs(w.page))
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
	}
}

// Needs is what the process has now. A resource that cannot be read is 0: during an attack the metrics may not come, and the
// process may end.
func (p *Process) Needs(page func() (string, error)) (n Needs) {
	if kb, err := p.status("VmRSS"); err == nil {
		n.RSS = kb << 10
	}
	if threads, err := p.status("Threads"); err == nil {
		n.Threads = int(threads)
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid())); err == nil {
		n.Files = len(files)
	}
	if text, err := page(); err == nil {
		if v, err := Metric(text, "go_goroutines"); err == nil {
			n.Goroutines = int(v)
		}
	}
	return n
}
