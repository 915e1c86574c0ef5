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
	b, name := r.bucketOf(kind)
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
		b.timer = time.AfterFunc(sumInterval, func() { r.sum(name, b) })
	}
	return false
}

// bucketOf returns the bucket of a kind and its name.
func (r *rate) bucketOf(kind []byte) (*bucket, string) {
	if b := r.kinds[string(kind)]; b != nil {
		return b, string(kind)
	}
	if r.kinds == nil {
		r.kinds = map[string]*bucket{}
	}
	name := string(kind)
	if len(r.kinds) >= maxKinds {
		name, _, _ = strings.Cut(name, " ")
		if b := r.kinds[name]; b != nil {
			return b, name
		}
	}
	b := &bucket{tokens: burst, filled: time.Now()}
	r.kinds[name] = b
	return b, name
}

// sum reports the number of omitted lines of a kind.
func (r *rate) sum(name string, b *bucket) {
	r.mu.Lock()
	n := b.omitted
	b.omitted, b.timer = 0, nil
	r.mu.Unlock()
	if n > 0 {
		r.report(fmt.Sprintf("%s%d more lines that begin with %q were left out within %s\n", prefix, n, name, sumInterval))
	}
}

// flush makes all reports that are due later.
func (r *rate) flush() {
	r.mu.Lock()
	waiting := map[string]*bucket{}
	for name, b := range r.kinds {
		if b.timer != nil && b.timer.Stop() {
			waiting[name] = b
		}
	}
	r.mu.Unlock()
	for name, b := range waiting {
		r.sum(name, b)
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
