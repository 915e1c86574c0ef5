// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"sync"
	"time"
)

// maxTasks is how many goroutines of a zone ask behind the clients' backs at the same time. What is beyond is left
// out: nothing but work for the cluster DNS is lost by it.
const maxTasks = 32

// tasks are the goroutines of a zone.
type tasks struct {
	life context.Context // ends with the configuration
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

// pause waits. It returns false if the configuration ended meanwhile.
func (t *tasks) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.life.Done():
		return false
	}
}

// close ends all and waits for them. The lock makes sure that nothing starts after the wait has begun. It waits no
// longer than a question may take: forward may be opening a connection, which it does not end before its time, and
// what comes after it in the shutdown must not wait for that.
func (t *tasks) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		t.all.Wait()
		close(done)
	}()
	timer := time.NewTimer(askTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
