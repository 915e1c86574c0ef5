// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks()
		var ended atomic.Int32
		for i := range maxTasks + 1 {
			started := tasks.start(func() {
				if !tasks.pause(time.Hour) {
					ended.Add(1)
				}
			})
			if started != (i < maxTasks) {
				t.Errorf("%d: %v", i, started)
			}
		}
		synctest.Wait()
		start := time.Now()
		if tasks.close(); ended.Load() != maxTasks || time.Since(start) > 0 {
			t.Errorf("%d ended, after %s", ended.Load(), time.Since(start))
		}
		if tasks.start(func() {}) {
			t.Error("started after the end")
		}
	})
}

// TestTaskThatDoesNotEnd: close returns although a plugin below ignores its context.
func TestTaskThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks()
		tasks.start(func() { time.Sleep(30 * time.Second) })
		start := time.Now()
		if tasks.close(); time.Since(start) != askTimeout {
			t.Errorf("closed after %s", time.Since(start))
		}
		time.Sleep(time.Minute) // the bubble ends with the task
	})
}
