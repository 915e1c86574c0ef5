// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"strconv"
	"testing"
	"time"
)

func TestRecent(t *testing.T) {
	r := newRecent[int](100)
	r.put("used", 1)
	for i := range 10_000 {
		r.put(strconv.Itoa(i), i)
		if i%50 == 0 {
			if v, ok := r.get("used"); !ok || v != 1 {
				t.Fatalf("forgotten after %d", i)
			}
		}
		if r.len() > 200 {
			t.Fatalf("%d kept", r.len())
		}
	}
	if _, ok := r.get("0"); ok {
		t.Error("kept what nobody used")
	}
	for _, key := range []string{"9999", "9850", "used"} { // of both generations
		r.remove(key)
		if _, ok := r.get(key); ok {
			t.Errorf("%s: not removed", key)
		}
	}
}

func TestBucket(t *testing.T) {
	now := time.Now()
	b := bucket{rate: 2, burst: 3}
	for i, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {0, 0}, {500 * time.Millisecond, 1}, {250 * time.Millisecond, 0}, {250 * time.Millisecond, 1}, {time.Hour, 3}} {
		now = now.Add(tt.after)
		n := 0
		for b.take(now) {
			n++
		}
		if n != tt.want {
			t.Errorf("%d: %d", i, n)
		}
	}
}

func (r *recent[V]) len() int { return len(r.young) + len(r.old) }
