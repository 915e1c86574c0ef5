// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// results are all that was measured, and on which machine.
type results struct {
	Machine  usage.Machine `json:"machine"`
	Servers  []description `json:"servers"`
	Rounds   int           `json:"rounds"`
	Seconds  float64       `json:"seconds"`
	Failures []string      `json:"failures,omitempty"`
	Samples  []sample      `json:"samples"`
}

// spread summarizes a value over the rounds.
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

// value takes a number out of a sample.
type value func(sample) float64

func serverCPU(s sample) float64   { return s.ServerCPU }
func rate(s sample) float64        { return s.Rate }
func p50(s sample) float64         { return s.P50 }
func p99(s sample) float64         { return s.P99 }
func p999(s sample) float64        { return s.P999 }
func allocations(s sample) float64 { return s.Allocations }

func rss(names string) value { return func(s sample) float64 { return s.RSS[names] } }

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
		values = append(values, v(s))
	}
	return spreadOf(values)
}

// ratio divides the value of a server by that of another one, round by round. So a change of the machine between rounds does not
// change the ratio.
func (r *results) ratio(server, to, measurement string, v value) spread {
	var values []float64
	for _, s := range r.selected(server, measurement) {
		for _, t := range r.selected(to, measurement) {
			if s.Round == t.Round && v(t) > 0 {
				values = append(values, v(s)/v(t))
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

// write writes the files of the results to a directory, and prints their names.
func (r *results) write(dir string) error {
	if err := output.Write(dir, r, map[string]string{"results.md": report(r), "hits.svg": plot(r)}); err != nil {
		return err
	}
	fmt.Printf("results.json, results.md and hits.svg are in %s\n", dir)
	return nil
}

// description says which server was measured.
type description struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Version string `json:"version,omitempty"`
}

func describeServers(h *harness.Host, servers []server) (all []description) {
	for _, s := range servers {
		d := description{Name: s.name, Title: s.title}
		if s.version != "" {
			out, _ := exec.Command(s.path(h), s.version).CombinedOutput() // some end with an error after they have printed it
			d.Version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		}
		all = append(all, d)
	}
	return all
}
