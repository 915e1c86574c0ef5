// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"sync"
	"testing"
	"time"
)

// TestWorkers has more work at once than workers may wait for: all of it begins at once. The workers that remain do what comes next.
func TestWorkers(t *testing.T) {
	w := workers{work: make(chan func())}
	idle := func(want int32) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); w.idle.Load() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d workers wait, want %d", w.idle.Load(), want)
			}
		}
	}
	occupy := func(n int) (release chan struct{}) {
		var begun sync.WaitGroup
		release = make(chan struct{})
		for range n {
			begun.Add(1)
			w.run(func() {
				begun.Done()
				<-release
			})
		}
		begun.Wait()
		return release
	}
	release := occupy(10 * maxIdle)
	idle(0)
	close(release)
	idle(maxIdle)
	release = occupy(5)
	idle(maxIdle - 5)
	close(release)
	idle(maxIdle)
}

func BenchmarkWorkers(b *testing.B) {
	w := workers{work: make(chan func())}
	done := make(chan struct{})
	for b.Loop() {
		w.run(func() { done <- struct{}{} })
		<-done
	}
}
