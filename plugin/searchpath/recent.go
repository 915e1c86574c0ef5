// SPDX-License-Identifier: Apache-2.0

package searchpath

import "time"

// recent is a map that forgets what was not used for a while. It has two generations: what is used moves to the
// young one, and when that is full, the old one goes. It so holds from one to two times size, and a flood of new keys
// costs only what was not used during as many new keys.
type recent[V any] struct {
	size       int
	young, old map[string]V
}

func newRecent[V any](size int) *recent[V] {
	return &recent[V]{size: size, young: map[string]V{}}
}

// get returns what put stored for key.
func (r *recent[V]) get(key string) (V, bool) {
	if v, ok := r.young[key]; ok {
		return v, true
	}
	v, ok := r.old[key]
	if ok {
		r.put(key, v)
	}
	return v, ok
}

func (r *recent[V]) put(key string, v V) {
	delete(r.old, key)
	if _, ok := r.young[key]; !ok && len(r.young) >= r.size {
		r.young, r.old = map[string]V{}, r.young
	}
	r.young[key] = v
}

func (r *recent[V]) remove(key string) {
	delete(r.young, key)
	delete(r.old, key)
}

func (r *recent[V]) len() int { return len(r.young) + len(r.old) }

// bucket lets something happen at a rate, with a burst. The zero time is a full bucket.
type bucket struct {
	rate, burst float64 // a second; at once
	tokens      float64
	at          time.Time
}

// take reports whether it may happen now.
func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = b.burst
	} else {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
