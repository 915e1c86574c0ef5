// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// example is a soak in which all is well: a reload, an outage, and the end of a process.
func example() *Results {
	r := &Results{
		Date: "2026-01-01", Seed: 1, CPUs: 2, Seconds: 1400,
		Kinds: []Kind{
			{Name: "reload", Group: "reloads", Gap: map[Class]float64{TCP: 1}},
			{Name: "outage", Group: "cluster DNS", Gap: map[Class]float64{New: 2}, Outage: true},
			{Name: "kill", Group: "processes", Gap: map[Class]float64{Known: 1, New: 2, TCP: 1}},
			{Name: "never", Group: "processes"},
		},
		Events:    []Event{{"reload", 100, 101}, {"outage", 200, 210}, {"kill", 700, 702}},
		Processes: []Process{{0, 700, "kill"}, {701, 1400, ""}},
		Sent:      []Sent{{5, 10000, 7}, {1400, 2800000, 287}},
	}
	for at := 5.0; at < r.Seconds; at += 5 {
		process := 0
		if at > 701 {
			process = 1
		}
		r.Samples = append(r.Samples, Sample{At: at, Process: process, RSS: 40 << 20, Goroutines: 100, Files: 50, CPU: at / 10})
	}
	return r
}

// TestFaults has one fault at a time.
func TestFaults(t *testing.T) {
	lost := func(at float64, c Class) func(*Results) {
		return func(r *Results) { r.Failures = append(r.Failures, Failure{At: at, Class: c, Error: "no answer"}) }
	}
	samples := func(from, to int, change func(*Sample)) func(*Results) {
		return func(r *Results) {
			for at := from; at <= to; at += 5 {
				change(&r.Samples[at/5-1])
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Results)
		want   string // a part of the error; empty: none
	}{
		{"nothing", func(*Results) {}, ""},
		{"TCP at a reload", lost(100.5, TCP), ""},
		{"on its way at a reload", lost(99.5, TCP), ""},
		{"UDP at a reload", lost(100.5, Known), "reload: 1 queries were lost that it must not cost"},
		{"a new name without an answer in an outage", lost(207, New), "outage: 1 queries"},
		{"a new name that fails in an outage", func(r *Results) { r.Failures = []Failure{{207, New, true, "answered SERVFAIL"}} }, ""},
		{"a new name after an outage", lost(211.5, New), ""},
		{"a new name long after an outage", lost(213, New), "outage: 1 queries"},
		{"a known name in an outage", lost(205, Known), "outage: 1 queries"},
		{"a known name at a kill", lost(700.2, Known), ""},
		{"a known name at the start after it", lost(702.2, Known), ""},
		{"a known name long after it", lost(704, Known), "kill: 1 queries"},
		{"without an event", lost(500, New), "1 queries were lost while nothing happened, the first one after 500.0 s: new: no answer (tasks of the machine waited for a CPU 20 % of the time then)"},
		{"memory that grows", samples(1310, 1395, func(s *Sample) { s.RSS = 61 << 20 }), "process 2 had 40 MB resident after ten minutes, and 61 MB at its end"},
		{"memory", samples(400, 400, func(s *Sample) { s.RSS = 151 << 20 }), "process 1 had 151 MB"},
		{"goroutines for a moment", samples(205, 205, func(s *Sample) { s.Goroutines = 3000 }), ""},
		{"goroutines of the last moment", samples(1395, 1395, func(s *Sample) { s.Goroutines = 3000 }), ""},
		{"goroutines that stay", samples(680, 695, func(s *Sample) { s.Goroutines = 141 }), "process 1 had 141 goroutines at its end, and there were 100 at the begin"},
		{"descriptors that stay", samples(1385, 1395, func(s *Sample) { s.Files = 131 }), "process 2 had 131 descriptors at its end, and there were 50 at the begin"},
		{"no query", func(r *Results) { r.Sent = nil }, "no query"},
		{"few queries", func(r *Results) { r.Sent[1].Queries /= 2 }, "1000 queries a second, fewer than 1800"},
		{"no event", func(r *Results) { r.Events = nil }, "nothing has happened"},
		{"no sample", func(r *Results) { r.Samples = nil }, "no sample"},
	} {
		r := example()
		tt.change(r)
		switch err := r.Faults(); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestTables reads lines of the tables.
func TestTables(t *testing.T) {
	r := example()
	r.Failures = []Failure{{100.5, TCP, false, "reset"}, {100.5, Known, false, "no answer"}, {204, New, true, "answered SERVFAIL"}, {500, New, false, "no answer"}}
	text := r.Tables()
	for _, want := range []string{
		"2026-01-01, seed 1, 2 CPUs: 2,800,000 queries in 23 minutes, 2000 a second, and 3 events. Lost while nothing happened: **1**. " +
			"Tasks of the machine waited for a CPU 20 % of the time, and up to 20 % in 5 s; a client was 0.0 s late with a query at most.",
		"| reload | 1 | TCP for 1 s | 1, **1 too many** | 0 | 1 | 0 | 0.5 s |",
		"| outage | 1 | new names until 2 s after its end | 0 | 1 | 0 | 1 | 4.0 s |",
		"| kill | 1 | known for 1 s, new for 2 s, TCP for 1 s | 0 | 0 | 0 | 0 |  |",
		"| 1 | 11.7 | kill | 40 | 40 | 40 | 40 | 100 | 100 | 100 | 50 | 50 | 50 | 0.10 |",
		"| 2 | 11.7 | the end of the soak | 40 | 40 | 40 | 40 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "never") {
		t.Errorf("an event that did not happen is in\n%s", text)
	}
}

// TestPlot reads the picture as XML, and counts what is in it.
func TestPlot(t *testing.T) {
	for name, r := range map[string]*Results{"empty": {}, "example": example()} {
		r.Failures = []Failure{{At: 100.5, Class: TCP}, {At: 204, Class: New}, {At: 204.5, Class: New}, {At: 500, Class: New}}
		plot := r.Plot()
		decoder := xml.NewDecoder(strings.NewReader(plot))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, plot)
			}
		}
		if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") || strings.Contains(plot, "ZgotmplZ") {
			t.Errorf("%s: no numbers in\n%s", name, plot)
		}
		if name == "empty" {
			continue
		}
		for text, want := range map[string]int{`class="mark"`: 3, `class="line"`: 6, `class="bar"`: 3, `class="end"`: 1, " min<": 5} {
			if n := strings.Count(plot, text); n != want {
				t.Errorf("%d times %q, want %d", n, text, want)
			}
		}
	}
}

// TestReadWrite reads what was written.
func TestReadWrite(t *testing.T) {
	want, dir := example(), t.TempDir()
	want.Failures = []Failure{{204, New, true, "answered SERVFAIL"}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, "results.json"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Read(filepath.Join(dir, "results.md")); err == nil || !strings.Contains(err.Error(), "results.md") {
		t.Errorf("no JSON: %v", err)
	}
}
