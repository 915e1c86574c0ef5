// SPDX-License-Identifier: Apache-2.0

// Package status collects what the parts of a process say of themselves, and gives it to the commands status and top over a unix
// socket. A part is a plugin or the command itself. The socket belongs to the process: it stays through reloads.
package status

import (
	"sync"
	"time"
)

// A source fills its part of the report.
type source struct{ fill func(*Report) }

var (
	mu      sync.Mutex
	sources = map[string]*source{} // by part
)

// Provide makes fill the source of a part of the report, in place of an earlier one of the same name. fill may be called at any
// time, by any goroutine, and must not wait. The returned function takes fill away, unless another source has replaced it: in a
// reload the next configuration provides before the last one stops.
func Provide(part string, fill func(*Report)) (withdraw func()) {
	s := &source{fill}
	mu.Lock()
	defer mu.Unlock()
	sources[part] = s
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if sources[part] == s {
			delete(sources, part)
		}
	}
}

// Collect asks all sources.
func Collect() Report {
	mu.Lock()
	all := make([]*source, 0, len(sources))
	for _, s := range sources {
		all = append(all, s)
	}
	mu.Unlock()
	r := Report{Time: time.Now()}
	for _, s := range all {
		s.fill(&r)
	}
	return r
}
