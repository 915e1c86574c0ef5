// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what became of a probe's queries.
type Report struct {
	Probe    string
	Sent     int
	Failures []Failure
	Gap      time.Duration   // the longest time without an answer
	Slowest  time.Duration   // the longest time to an answer or a failure
	Latest   time.Duration   // the longest time to a good answer
	Stall    time.Duration   // the longest time by which a query was sent too late
	Took     []time.Duration // of each query, in the order in which they ended
}

// Failure is a query without a good answer.
type Failure struct {
	At   time.Time // when it was sent
	Name string
	Err  error
}

// Answered is the number of queries with a good answer.
func (r Report) Answered() int { return r.Sent - len(r.Failures) }

// Quantile is the time within which that share of the queries had ended.
func (r Report) Quantile(share float64) time.Duration {
	if len(r.Took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Took))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// Window is the time from Begin to End. End is not part of it.
type Window struct{ Begin, End time.Time }

func (w Window) has(t time.Time) bool { return !t.Before(w.Begin) && t.Before(w.End) }

// In is the report with only the failures of queries that were sent in the window.
func (r Report) In(w Window) Report {
	return r.with(func(f Failure) bool { return w.has(f.At) })
}

// Outside is the report with only the failures of queries that were sent in none of the windows.
func (r Report) Outside(windows ...Window) Report {
	return r.with(func(f Failure) bool {
		return !slices.ContainsFunc(windows, func(w Window) bool { return w.has(f.At) })
	})
}

func (r Report) with(keep func(Failure) bool) Report {
	all := r.Failures
	r.Failures = nil
	for _, f := range all {
		if keep(f) {
			r.Failures = append(r.Failures, f)
		}
	}
	return r
}

// String is a line for the report and one for each of the first failures.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d sent, %d failed, longest gap %s, slowest %s", r.Probe, r.Sent, len(r.Failures),
		r.Gap.Round(time.Millisecond), r.Slowest.Round(time.Millisecond))
	for i, f := range r.Failures {
		if i == 3 {
			fmt.Fprintf(&b, "\n    and %d more", len(r.Failures)-i)
			break
		}
		fmt.Fprintf(&b, "\n    %s %s: %v", f.At.Format("15:04:05.000"), f.Name, f.Err)
	}
	return b.String()
}
