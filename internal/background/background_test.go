// SPDX-License-Identifier: Apache-2.0

package background

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const most = 32

type key struct{}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, gone := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		g := New(most, time.Second)
		var ended atomic.Int32
		for i := range most + 1 {
			started := g.Start(client, func(ctx context.Context) {
				<-ctx.Done()
				if ctx.Value(key{}) == "value" {
					ended.Add(1)
				}
			})
			if started != (i < most) {
				t.Errorf("%d: %v", i, started)
			}
		}
		gone() // the client's end is not the question's
		synctest.Wait()
		if n := ended.Load(); n > 0 {
			t.Errorf("%d ended with the client", n)
		}
		start := time.Now()
		if err := g.Close(); err != nil || ended.Load() != most || time.Since(start) > 0 {
			t.Errorf("%d ended, after %s: %v", ended.Load(), time.Since(start), err)
		}
		if g.Start(t.Context(), func(context.Context) {}) {
			t.Error("started after the end")
		}
	})
}

// TestAnotherAfterTheEndOfOne: a goroutine that has ended makes room.
func TestAnotherAfterTheEndOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(1, time.Second)
		for i := range 3 {
			if !g.Start(t.Context(), func(context.Context) {}) {
				t.Errorf("%d: not started", i)
			}
			synctest.Wait()
		}
	})
}

// TestOneThatDoesNotEnd: Close returns although a plugin below ignores its context.
func TestOneThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(most, 3*time.Second)
		g.Start(t.Context(), func(context.Context) { time.Sleep(30 * time.Second) })
		start := time.Now()
		if _ = g.Close(); time.Since(start) != 3*time.Second {
			t.Errorf("closed after %s", time.Since(start))
		}
		time.Sleep(time.Minute) // the bubble ends with the goroutine
	})
}
