// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"testing"
	"time"
)

func TestStates(t *testing.T) {
	for s, after := range map[state][3]state{ // by event: nameExists, nameDenied, belowDenied
		unknown:  {existing, absent, unknown},
		existing: {existing, absent, existing},
		absent:   {existing, absent, cut},
		cut:      {existing, cut, cut},
	} {
		for e, want := range after {
			if got := s.after(event(e)); got != want {
				t.Errorf("state %d, event %d: %d, want %d", s, e, got, want)
			}
		}
	}
}

func TestStatesEnd(t *testing.T) {
	now := time.Now()
	d := &denial{until: now.Add(3 * time.Second)}
	for _, tt := range []struct {
		e      *entry
		after  time.Duration
		want   state
		speaks bool
	}{
		{nil, 0, unknown, false},
		{&entry{state: existing, until: now.Add(time.Second)}, 0, existing, false},
		{&entry{state: existing, until: now.Add(time.Second)}, time.Second, unknown, false},
		{&entry{state: absent, denial: d}, 2 * time.Second, absent, true},
		{&entry{state: absent, denial: d}, 2*time.Second + 1, unknown, false},
		{&entry{state: cut, denial: d}, 2 * time.Second, cut, true},
		{&entry{state: cut, denial: d}, time.Hour, cut, false}, // to be renewed
	} {
		at := now.Add(tt.after)
		if got := tt.e.at(at); got != tt.want || (tt.e.speaks(at) != nil) != tt.speaks {
			t.Errorf("%+v after %s: %d", tt.e, tt.after, got)
		}
	}
}

func TestPhases(t *testing.T) {
	if p := working.next(); p != doubted || p.next() != ended || ended.next() != ended {
		t.Error(p)
	}
}
