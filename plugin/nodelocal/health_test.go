// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"testing"
)

func (p pulse) String() string { return [...]string{"untried", "alive", "deaf"}[p] }

func (v verdict) String() string { return verdictNames[v] }

// TestHealth walks all pairs of a state and a verdict, just below and at the count that moves the state.
func TestHealth(t *testing.T) {
	for _, tc := range []struct {
		from    pulse
		before  int // verdicts like this one, in a row
		verdict verdict
		want    pulse
	}{
		{untried, 0, failed, untried},
		{untried, 9, failed, untried},
		{untried, 0, foreign, untried},
		{untried, 9, foreign, untried},
		{untried, 0, answered, alive},
		{untried, 0, unasked, untried},
		{untried, 19, unasked, untried},
		{alive, 0, failed, alive},
		{alive, failuresOff - 2, failed, alive},
		{alive, failuresOff - 1, failed, deaf},
		{alive, 0, foreign, alive},
		{alive, 9, foreign, alive},
		{alive, 0, answered, alive},
		{alive, 9, answered, alive},
		{alive, 0, unasked, alive},
		{alive, unaskedOff + failuresOff - 2, unasked, alive},
		{alive, unaskedOff + failuresOff - 1, unasked, deaf},
		{deaf, 0, failed, deaf},
		{deaf, 9, failed, deaf},
		{deaf, 0, foreign, deaf},
		{deaf, 9, foreign, deaf},
		{deaf, 0, answered, deaf},
		{deaf, answersOn - 2, answered, deaf},
		{deaf, answersOn - 1, answered, alive},
		{deaf, 0, unasked, deaf},
		{deaf, 19, unasked, deaf},
	} {
		h := health{state: tc.from}
		for range tc.before {
			h.note(tc.verdict)
		}
		if h.note(tc.verdict); h.state != tc.want {
			t.Errorf("%s, %s for the %dth time: got %s, want %s", tc.from, tc.verdict, tc.before+1, h.state, tc.want)
		}
	}
}

// TestHealthRows has rows of verdicts: which of them end a row, and which belong to it.
func TestHealthRows(t *testing.T) {
	for _, tc := range []struct{ name, rounds, want string }{
		{"starts with one answer", "fffa", "0001"},
		{"three failures in a row", "affaffaff", "111111111"},
		{"off, and on after two answers", "afffaffaa", "111000001"},
		{"a failure between two answers", "afffafa", "1110000"},
		{"a peer's answers say nothing", "affof", "11110"},
		{"nor between two answers", "afffaoa", "1110001"},
		{"a peer's answers do not start it", "ooa", "001"},
		{"what was not asked says nothing", "uauffuuaff", "0111111111"},
		{"nothing can be asked for long", "auuuuuuuuuuuu" + "u", "11111111111110"},
		{"an answer ends the time without", "auuuuuuuuuuauuu", "111111111111111"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, got := &health{}, ""
			for _, r := range tc.rounds {
				h.note(map[rune]verdict{'f': failed, 'a': answered, 'o': foreign, 'u': unasked}[r])
				got += map[bool]string{true: "1", false: "0"}[h.state == alive]
			}
			if got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.rounds, got, tc.want)
			}
		})
	}
}

// TestLastVerdict is what tells of a peer that answers alone. A round that could not ask leaves it.
func TestLastVerdict(t *testing.T) {
	for rounds, want := range map[string]verdict{"o": foreign, "ou": foreign, "of": failed, "oa": answered, "ao": foreign, "ouuuuuuuuuuu": failed} {
		var h health
		for _, r := range rounds {
			h.note(map[rune]verdict{'f': failed, 'a': answered, 'o': foreign, 'u': unasked}[r])
		}
		if h.last != want {
			t.Errorf("%s: got %s, want %s", rounds, fmt.Sprint(h.last), want)
		}
	}
}
