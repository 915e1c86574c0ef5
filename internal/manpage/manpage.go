// SPDX-License-Identifier: Apache-2.0

// Package manpage helps to test the README.md of a plugin. The file is in the working directory of the test.
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

// Text returns the content of README.md.
func Text(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An Example is a Corefile in README.md with one server block.
type Example struct {
	Text  string
	Block caddyfile.ServerBlock
}

// Examples returns the examples of README.md. The test fails unless there are n examples with one server block each.
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

// CheckMetrics checks that n metrics have names that begin with coredns_PLUGIN_, that promlint accepts the names, and that
// README.md describes each metric. Each metric must have a value.
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
