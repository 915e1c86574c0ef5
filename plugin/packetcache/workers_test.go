// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"sync"
	"testing"
	"time"
)

// TestWorkers has more work at once than workers may wait for: all of it begins at once, and the workers that remain do what comes next.
func TestWorkers(t *testing.T) {
	w := workers{work: make(chan func())}
	for range 2 {
		var begun, ended sync.WaitGroup
		release := make(chan struct{})
		for range 10 * maxIdle {
			begun.Add(1)
			ended.Add(1)
			w.run(func() {
				begun.Done()
				<-release
				ended.Done()
			})
		}
		begun.Wait()
		if n := w.idle.Load(); n != 0 {
			t.Errorf("%d workers wait while there is work", n)
		}
		close(release)
		ended.Wait()
		for deadline := time.Now().Add(10 * time.Second); w.idle.Load() != maxIdle; {
			if time.Now().After(deadline) {
				t.Fatalf("%d workers wait, want %d", w.idle.Load(), maxIdle)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func BenchmarkWorkers(b *testing.B) {
	w := workers{work: make(chan func())}
	done := make(chan struct{})
	for b.Loop() {
		w.run(func() { done <- struct{}{} })
		<-done
	}
}
