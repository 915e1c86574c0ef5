// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3, 1}},
		{[]float64{9, 1, 2}, spread{2, 1, 9, 3}},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
}

// example has two rounds; the second one is half as fast for all.
func example() *results {
	r := &results{Rounds: 2, Seconds: 1, Machine: usage.Machine{CPU: "A & B"}, Servers: []description{
		{"nodelocaldns", "nodelocaldns", "1"}, {"stock", "stock CoreDNS", "2"}, {"unbound", "unbound", "3"},
	}}
	for round, factor := range []float64{1, 2} {
		r.add("nodelocaldns", "hits", round, sample{ServerCPU: 6 * factor, Rate: 160000 / factor, Sent: 1000})
		r.add("stock", "hits", round, sample{ServerCPU: 30 * factor, Rate: 30000 / factor, Sent: 1000, Lost: 700})
	}
	return r
}

func TestRatio(t *testing.T) {
	r := example()
	if got, want := r.ratio("nodelocaldns", reference, "hits", serverCPU), (spread{0.2, 0.2, 0.2, 2}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.ratio("unbound", reference, "hits", serverCPU); got.Count != 0 {
		t.Errorf("of a server without samples: %v", got)
	}
}

func TestReport(t *testing.T) {
	const want = `
| | ÷ stock | µs a query | queries/s | lost |
|---|---|---|---|---|
| nodelocaldns | **0.20** (0.20–0.20) | 9.00 (6.00–12.00) | 120,000 (80,000–160,000) | 0 |
| stock CoreDNS | **1.00** (1.00–1.00) | 45.0 (30.0–60.0) | 22,500 (15,000–30,000) | 1,400 of 2,000 |
`
	got := report(example())
	if !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it\n%s", got, want)
	}
	if n := strings.Count(got, "\n## "); n != 1 {
		t.Errorf("%d tables", n)
	}
}

func TestPlot(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(plot(example())))
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "line" {
			bars++
		}
	}
	if bars != 2 {
		t.Errorf("%d bars", bars)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	if err := example().write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != 4 || r.Samples[0].ServerCPU != 6 || r.Samples[0].Server != "nodelocaldns" {
		t.Errorf("%+v", r.Samples)
	}
}
