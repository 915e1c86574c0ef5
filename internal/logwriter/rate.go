// SPDX-License-Identifier: Apache-2.0

package logwriter

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// burst lines of a kind may be written at once, and perSecond lines a second in the long run.
	burst, perSecond = 200, 20
	// sumInterval is the time between two reports of the number of omitted lines.
	sumInterval = 30 * time.Second
	// maxKinds bounds the kinds. A kind is a level and a plugin. Beyond maxKinds a kind is a level.
	maxKinds = 100
)

// rate bounds the lines of each kind: lines that packets cause must not push other lines out of the log.
type rate struct {
	report func(line string) // called with a line about omitted lines

	mu    sync.Mutex
	kinds map[string]*bucket
}

// A bucket is a token bucket of one kind.
type bucket struct {
	kind    string
	tokens  float64
	filled  time.Time
	omitted int         // lines since the last report
	timer   *time.Timer // for the next report; nil: no line was omitted
}

// allow reports whether line may be written. It counts a line that must not.
func (r *rate) allow(line []byte) bool {
	kind := kindOf(line)
	if kind == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucketOf(string(kind))
	now := time.Now()
	b.tokens = min(burst, b.tokens+perSecond*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens >= 1 {
		b.tokens--
		return true
	}
	b.omitted++
	dropped.WithLabelValues(reasonRate).Inc()
	if b.timer == nil {
		b.timer = time.AfterFunc(sumInterval, func() { r.sum(b) })
	}
	return false
}

// bucketOf returns the bucket of a kind. The caller holds mu.
func (r *rate) bucketOf(kind string) *bucket {
	if r.kinds[kind] == nil && len(r.kinds) >= maxKinds {
		kind, _, _ = strings.Cut(kind, " ")
	}
	b := r.kinds[kind]
	if b == nil {
		b = &bucket{kind: kind, tokens: burst, filled: time.Now()}
		r.kinds[kind] = b
	}
	return b
}

// sum reports the number of omitted lines of a kind.
func (r *rate) sum(b *bucket) {
	r.mu.Lock()
	n := b.omitted
	b.omitted, b.timer = 0, nil
	r.mu.Unlock()
	if n > 0 {
		r.report(fmt.Sprintf("%s%d more lines that begin with %q were left out within %s\n", prefix, n, b.kind, sumInterval))
	}
}

// flush makes all reports that are due later.
func (r *rate) flush() {
	r.mu.Lock()
	var waiting []*bucket
	for _, b := range r.kinds {
		if b.timer != nil && b.timer.Stop() {
			waiting = append(waiting, b)
		}
	}
	r.mu.Unlock()
	for _, b := range waiting {
		r.sum(b)
	}
}

// kindOf returns the kind of a line of level ERROR or WARNING: "[ERROR] plugin/NAME" for a plugin, otherwise "[ERROR]". It returns
// nil for other lines. They are not bounded.
func kindOf(line []byte) []byte {
	level, rest, _ := bytes.Cut(line, []byte(" "))
	if string(level) != "[ERROR]" && string(level) != "[WARNING]" {
		return nil
	}
	if name, _, ok := bytes.Cut(rest, []byte(":")); ok && bytes.HasPrefix(name, []byte("plugin/")) && len(name) < 64 {
		return line[:len(level)+1+len(name)]
	}
	return level
}
