// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// TestSets compares the sets with what is known of the files of kubernetes/perf-tests: the number of queries and of names.
func TestSets(t *testing.T) {
	for name, want := range map[string][3]int{ // queries, names, queries with an answer
		allQueries: {25, 13, 3}, "outside": {8, 4, 2}, "nx-domain": {1, 1, 0}, "pod-ip": {1, 1, 1}, "service": {1, 1, 1},
		"multiple-svc": {20, 20, 20}, guides: {12, 12, 12},
	} {
		i := slices.IndexFunc(sets, func(s set) bool { return s.name == name })
		names, exist := map[string]bool{}, 0
		for _, q := range sets[i].queries {
			n, qtype, _ := strings.Cut(q, " ")
			names[n] = true
			if exists(q) {
				exist++
			}
			if qtype != "A" && qtype != "AAAA" {
				t.Errorf("%s: %s", name, q)
			}
		}
		if got := [3]int{len(sets[i].queries), len(names), exist}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if len(measurements) != 5+5*3+1 {
		t.Errorf("%d measurements", len(measurements))
	}
}

func TestQuantiles(t *testing.T) {
	if p50, p99 := quantiles(nil); p50 != 0 || p99 != 0 {
		t.Errorf("of nothing: %v, %v", p50, p99)
	}
	var latencies []time.Duration
	for i := range 1000 {
		latencies = append(latencies, time.Duration(1000-i)*time.Microsecond)
	}
	if p50, p99 := quantiles(latencies); p50 != 501 || p99 != 991 {
		t.Errorf("%v, %v", p50, p99)
	}
}

func example() *results {
	return &results{Seconds: 15, Machine: usage.Machine{CPU: "A"}, Figures: []figure{
		{Set: guides, Arrangement: alone, Sent: 1000, Answered: 1000, Rate: 20000.4, Mean: 4800, Asked: 1000, ClusterDNS: 0.9},
		{Set: guides, Arrangement: ours, Sent: 5000, Answered: 4999, Lost: 1, Rate: 100000, Mean: 900, Asked: 24, ClusterDNS: 0.001, Cache: 0.5},
		{Set: allQueries, MaxRate: 500, Arrangement: ours, Sent: 2000, Answered: 2000, Bypassed: 3, Rate: 500, Mean: 51, P50: 48, P99: 97.4, Asked: 7, ClusterDNS: 0.002},
	}}
}

func TestTables(t *testing.T) {
	got := example().tables()
	for _, want := range []string{
		"Of 8000 queries not all were answered well: 12 Services, as many as possible, behind nodelocaldns: 1 lost, 0 failed, at least 0 answered by the cluster DNS; " +
			"all-queries, 500/s, behind nodelocaldns: 0 lost, 0 failed, at least 3 answered by the cluster DNS.\n",
		"| queries | a second | cluster DNS alone | behind stock CoreDNS | behind nodelocaldns |\n|---|---|---|---|---|\n",
		"| 12 Services | as many as possible | 20000, 4800 µs | | 100000, 900 µs |\n",
		"| all-queries | 500 | | | 51, 48, 97 |\n",
		"| 12 Services | as many as possible | 1000, 90.0 % | | 24, 0.1 %, 50.0 % |\n",
		"| all-queries | 500 | | | 7, 0.2 % |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	r := example()
	r.Figures = r.Figures[:1]
	if want := "Of 1000 queries all were answered"; !strings.Contains(r.tables(), want) {
		t.Errorf("no %q in\n%s", want, r.tables())
	}
}

// TestDocument writes the tables into the document that has the place for them.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := output.Insert(path, begin, end, example().tables()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(got), example().tables()) {
		t.Errorf("%v, %s", err, got)
	}
}
