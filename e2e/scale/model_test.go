// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

// TestSteady compares the rates with what the rules of the cache say of questions that hardly anybody or everybody asks.
func TestSteady(t *testing.T) {
	for name, tt := range map[string]struct {
		q    question
		want float64 // seconds between two questions to the cluster DNS
	}{
		"each query is a miss":      {question{positive, 1e-5}, 1e5 + 30},
		"prefetched after 24 s":     {question{positive, 1000}, 24.5},
		"denial, prefetched at 4 s": {question{nodata, 1000}, 4.5},
		"seldom denied":             {question{denied, 1e-4}, 1e4 + 5},
	} {
		t.Run(name, func(t *testing.T) {
			if got := 1 / tt.q.steady(); math.Abs(got/tt.want-1) > 0.01 {
				t.Errorf("asked each %.2f s, want %.2f", got, tt.want)
			}
		})
	}
}

// TestCold compares the numbers after a cold start with a simulation of the same question, second for second.
func TestCold(t *testing.T) {
	for name, tt := range map[string]struct {
		q      question
		within float64 // seconds
	}{
		"popular":          {question{positive, 5}, 10},
		"one life":         {question{positive, 0.2}, 30},
		"seldom":           {question{positive, 0.01}, 60},
		"denial":           {question{denied, 0.5}, 20},
		"nothing yet":      {question{denied, 1}, 0},
		"many lives":       {question{denied, 2}, 120},
		"one in a million": {question{denied, 1e-6}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			random, total := rand.New(rand.NewSource(1)), 0
			const rounds = 20000
			held, _ := tt.q.held()
			for range rounds {
				for at := random.ExpFloat64() / tt.q.rate; at < tt.within; at += held + random.ExpFloat64()/tt.q.rate {
					total++
				}
			}
			if got, want := tt.q.cold(tt.within), float64(total)/rounds; math.Abs(got-want) > 0.02*want+0.001 {
				t.Errorf("asked %.4f times, simulated %.4f", got, want)
			}
		})
	}
}

// TestPlugins checks what the plugins change, and in which direction.
func TestPlugins(t *testing.T) {
	plain, keep, search := model{usual, plugins{}}, model{usual, plugins{Keep: true}}, model{usual, plugins{Searchpath: true}}
	hedge := model{usual, plugins{Hedge: true}}
	inside := usual
	inside.Outside = 0
	for name, ok := range map[string]bool{
		"without keep a start costs more than the steady state":   plain.excess() > 0 && plain.start(10) > 10*plain.steady(),
		"with keep a start costs nothing":                         keep.excess() <= 0 && keep.start(10) <= 10*keep.steady(),
		"keep changes nothing in the steady state":                keep.steady() == plain.steady(),
		"hedge changes nothing in the steady state":               hedge.steady() == plain.steady(),
		"searchpath asks less":                                    search.steady() < plain.steady(),
		"searchpath without look-ups outside changes nothing":     model{inside, plugins{Searchpath: true}}.steady() == model{inside, plugins{}}.steady(),
		"the cache asks less than the pods":                       plain.steady() < plain.queries(),
		"a cut is asked for each 4 s at most":                     search.cuts() <= float64(len(searched)*len(topLevel))/cutLife,
		"no outage is the steady state":                           math.Abs(search.outage(0, 10)-10*search.steady()) < 1e-9,
		"an outage adds no more than what was due meanwhile":      plain.outage(2, 10) > 10*plain.steady() && plain.outage(2, 10) < 12*plain.steady(),
		"no more than the bound of audits":                        search.audits() <= maxAudits,
		"the sum of a Zipf distribution's shares is one":          math.Abs(cumulate(usual.shares(50))[49]-1) < 1e-9,
		"a cold cache asks no more than the pods in a second":     plain.start(1) <= plain.queries(),
		"nodes that begin together ask more than one by one":      plain.demand(100).AtOnce > plain.demand(100).Sync,
		"an update is less than all at once":                      plain.demand(100).Rollout < plain.demand(100).AtOnce,
		"fifty times the nodes ask fifty times as much":           math.Abs(plain.demand(5000).Steady/plain.demand(100).Steady-50) < 1e-9,
		"a question that is kept is asked for when its life ends": question{positive, 100}.kept(30) > 0,
	} {
		if !ok {
			t.Errorf("not so: %s", name)
		}
	}
}

// TestJudge has a phase within the bound and two beyond.
func TestJudge(t *testing.T) {
	observed := func(asked float64) observation {
		return observation{Caches: 20, Phases: []phase{{Name: steadyPhase, Seconds: 60, Asked: asked, Predicted: 100}}}
	}
	for name, tt := range map[string]struct {
		o    observation
		want string // part of the error
	}{
		"within":   {observed(119), ""},
		"too many": {observed(121), "1.21"},
		"too few":  {observed(79), "0.79"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&results{Runs: []observation{tt.o}}).judge()
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestCorefile(t *testing.T) {
	for _, p := range slices.Concat(rounds...) {
		text := p.corefile()
		for name, on := range map[string]bool{
			"\n    keep ": p.Keep, "\n    searchpath\n": p.Searchpath, "\n    hedge ": p.Hedge, "\n    forward ": !p.Hedge, "UPSTREAM": false,
		} {
			if strings.Contains(text, name) != on {
				t.Errorf("plugins %s: %q is to be %t in\n%s", p, name, on, text)
			}
		}
	}
}

func TestRound(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := round(x); got != want {
			t.Errorf("round(%g) = %s, want %s", x, got, want)
		}
	}
}
