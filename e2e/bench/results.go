// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// results are all that was measured, and where.
type results struct {
	Machine  machine       `json:"machine"`
	Servers  []description `json:"servers"`
	Rounds   int           `json:"rounds"`
	Seconds  float64       `json:"seconds"`
	Failures []string      `json:"failures,omitempty"`
	Summary  []summary     `json:"summary"`
	Samples  []sample      `json:"samples"`
}

// summary is of one server and measurement, over the rounds.
type summary struct {
	Server      string            `json:"server"`
	Measurement string            `json:"measurement"`
	Values      map[string]spread `json:"values"`
	ToStock     map[string]spread `json:"to_stock,omitempty"`
}

// spread is a median with what it is the median of.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Count  int     `json:"rounds"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1], n}
}

// value is one of a sample's numbers.
type value struct {
	name string
	of   func(sample) float64
}

var (
	serverCPU   = value{"server_cpu_us", func(s sample) float64 { return s.ServerCPU }}
	machineCPU  = value{"machine_cpu_us", sample.machine}
	rate        = value{"queries_per_second", func(s sample) float64 { return s.Rate }}
	p50         = value{"p50_us", func(s sample) float64 { return s.P50 }}
	p99         = value{"p99_us", func(s sample) float64 { return s.P99 }}
	p999        = value{"p999_us", func(s sample) float64 { return s.P999 }}
	allocations = value{"allocations", func(s sample) float64 { return s.Allocations }}
	allValues   = []value{serverCPU, machineCPU, rate, p50, p99, p999, allocations, rss("0"), rss("10000"), rss("100000")}
)

func rss(names string) value {
	return value{"rss_mb_" + names, func(s sample) float64 { return s.RSS[names] }}
}

func (r *results) add(server, measurement string, round int, s sample) {
	s.Server, s.Measurement, s.Round = server, measurement, round
	r.Samples = append(r.Samples, s)
}

// selected lists the samples of a server and measurement.
func (r *results) selected(server, measurement string) (found []sample) {
	for _, s := range r.Samples {
		if s.Server == server && s.Measurement == measurement {
			found = append(found, s)
		}
	}
	return found
}

func (r *results) spread(server, measurement string, v value) spread {
	var values []float64
	for _, s := range r.selected(server, measurement) {
		values = append(values, v.of(s))
	}
	return spreadOf(values)
}

// ratio compares a server with another, round by round, so that what changes between rounds falls out.
func (r *results) ratio(server, to, measurement string, v value) spread {
	var values []float64
	for _, s := range r.selected(server, measurement) {
		for _, t := range r.selected(to, measurement) {
			if s.Round == t.Round && v.of(t) > 0 {
				values = append(values, v.of(s)/v.of(t))
			}
		}
	}
	return spreadOf(values)
}

// lost adds up the queries over the rounds.
func (r *results) lost(server, measurement string) (lost, wrong, sent int) {
	for _, s := range r.selected(server, measurement) {
		lost, wrong, sent = lost+s.Lost, wrong+s.Wrong, sent+s.Sent
	}
	return lost, wrong, sent
}

func measurementNames() (names []string) {
	for _, m := range measurements {
		names = append(names, m.name)
	}
	return append(names, memory)
}

func (r *results) summarize() {
	r.Summary = nil
	for _, m := range measurementNames() {
		for _, s := range r.Servers {
			sum := summary{s.Name, m, map[string]spread{}, map[string]spread{}}
			for _, v := range allValues {
				if values := r.spread(s.Name, m, v); values.Max > 0 {
					sum.Values[v.name] = values
				}
				if ratio := r.ratio(s.Name, reference, m, v); ratio.Max > 0 {
					sum.ToStock[v.name] = ratio
				}
			}
			if len(sum.Values) > 0 {
				r.Summary = append(r.Summary, sum)
			}
		}
	}
}

// write makes the files.
func (r *results) write(dir string) error {
	r.summarize()
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"results.json", string(text) + "\n"}, {"results.md", report(r)}, {"hits.svg", plot(r)},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}
