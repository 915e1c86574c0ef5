// SPDX-License-Identifier: Apache-2.0

// Package manpage is for the test of a plugin's README.md, which lies in the test's working directory.
package manpage

import (
	"os"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// Text returns README.md.
func Text(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An Example is a Corefile of README.md and its one server block.
type Example struct {
	Text  string
	Block caddyfile.ServerBlock
}

// Examples returns the examples of README.md, of which there must be n with one server block each.
func Examples(t testing.TB, n int) (all []Example) {
	t.Helper()
	parts := strings.Split(Text(t), "~~~ corefile\n")
	if len(parts) != n+1 {
		t.Errorf("README.md has %d examples, want %d", len(parts)-1, n)
	}
	for _, part := range parts[1:] {
		text, _, _ := strings.Cut(part, "~~~")
		blocks, err := caddyfile.Parse("README.md", strings.NewReader(text), nil)
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%d server blocks, want 1; %v\n%s", len(blocks), err, text)
		}
		all = append(all, Example{text, blocks[0]})
	}
	return all
}

// CheckMetrics checks that there are n metrics whose names begin with coredns_PLUGIN_, that their names are good, and that README.md
// has them. Each must have had a value.
func CheckMetrics(t testing.TB, plugin string, n int) {
	t.Helper()
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	readme := Text(t)
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_"+plugin+"_") {
			own = append(own, m)
			if !strings.Contains(readme, "`"+m.GetName()) {
				t.Errorf("README.md says nothing of %s", m.GetName())
			}
		}
	}
	if len(own) != n {
		t.Errorf("%d metrics, want %d", len(own), n)
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
