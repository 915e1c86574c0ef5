// SPDX-License-Identifier: Apache-2.0

// Package background runs the goroutines that ask questions for which no client waits.
package background

import (
	"context"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin/metadata"
)

// A Group holds the goroutines of one configuration.
type Group struct {
	most     int
	patience time.Duration
	life     context.Context // canceled by Close
	end      context.CancelFunc

	mu      sync.Mutex
	running int
	all     sync.WaitGroup
}

// New returns a Group of most goroutines at most. Close waits for patience at most.
func New(most int, patience time.Duration) *Group {
	life, end := context.WithCancel(context.Background())
	return &Group{most: most, patience: patience, life: life, end: end}
}

// Start runs f in a goroutine, with the values of ctx but not its cancellation: the client may be gone before the answer. Close
// cancels the context of f. That context has its own metadata map: plugins write to the map while the query of the client uses the
// other one. Start returns false if too many goroutines run, or after Close.
func (g *Group) Start(ctx context.Context, f func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running >= g.most || g.life.Err() != nil {
		return false
	}
	g.running++
	g.all.Go(func() {
		defer g.done()
		ctx, cancel := context.WithCancel(metadata.ContextWithMetadata(context.WithoutCancel(ctx)))
		defer cancel()
		defer context.AfterFunc(g.life, cancel)()
		f(ctx)
	})
	return true
}

func (g *Group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
}

// Close ends the goroutines and waits for them. The lock prevents a start after the wait has begun. The wait is bounded because the
// plugin forward may be opening a connection, which cannot be canceled. Close always returns nil.
func (g *Group) Close() error {
	g.mu.Lock()
	g.end()
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		g.all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(g.patience):
	}
	return nil
}
