// SPDX-License-Identifier: Apache-2.0

package searchpath

import "time"

// recent is a map that forgets unused keys. It has two generations. A key that is used moves to the young generation. When the
// young generation has size keys, it becomes the old one, and the keys of the last old one are forgotten. So recent holds 2*size
// keys at most, and a flood of new keys removes only keys that were not used during size new keys.
type recent[V any] struct {
	size       int
	young, old map[string]V
}

func newRecent[V any](size int) *recent[V] {
	return &recent[V]{size: size, young: map[string]V{}}
}

// get returns the value of key, and uses the key.
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

// bucket bounds the rate of an event. A bucket with the zero time is full.
type bucket struct {
	rate, burst float64 // events a second; events at once
	tokens      float64
	at          time.Time
}

// take reports whether an event may happen now, and counts the event.
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
