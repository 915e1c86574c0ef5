// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"sync"
	"time"
)

// maxTasks bounds the goroutines of a zone that ask questions on their own. A further question is left out: the cluster DNS then
// gets more queries of clients.
const maxTasks = 32

// tasks are the goroutines of a zone.
type tasks struct {
	life context.Context // canceled at the end of the configuration
	end  context.CancelFunc

	mu      sync.Mutex
	running int
	all     sync.WaitGroup
}

func newTasks() *tasks {
	life, end := context.WithCancel(context.Background())
	return &tasks{life: life, end: end}
}

// start runs f in a goroutine. It returns false if too many run, or the configuration has ended.
func (t *tasks) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running >= maxTasks || t.life.Err() != nil {
		return false
	}
	t.running++
	t.all.Go(func() {
		defer t.done()
		f()
	})
	return true
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
}

// pause waits for d. It returns false if the configuration ends before.
func (t *tasks) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-t.life.Done():
		return false
	}
}

// close ends the goroutines and waits for them, for askTimeout at most. The lock prevents a start after the wait has begun. The
// wait is bounded because the plugin forward may be opening a connection, which cannot be canceled.
func (t *tasks) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		t.all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(askTimeout):
	}
}
