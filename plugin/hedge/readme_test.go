// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"os"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExamplesOfTheREADME(t *testing.T) {
	parts := strings.Split(readme(t), "~~~ corefile\n")
	if len(parts) != 3 {
		t.Errorf("%d examples", len(parts)-1)
	}
	for _, part := range parts[1:] {
		text, _, _ := strings.Cut(part, "~~~")
		blocks, err := caddyfile.Parse("README.md", strings.NewReader(text), nil)
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%v\n%s", err, text)
		}
		c := caddy.NewTestController("dns", "")
		c.Dispenser = caddyfile.NewDispenserTokens("README.md", blocks[0].Tokens["hedge"])
		if all, err := parseAll(c); err != nil || len(all) != 1 {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	newMetrics("192.0.2.1:53")
	gauges.begin("192.0.2.1:53")
	defer gauges.end("192.0.2.1:53")
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_hedge_") {
			own = append(own, m)
		}
		for _, l := range m.GetMetric() {
			if strings.Contains(l.String(), "192.0.2.1:53") && !strings.Contains(readme(t), "`"+m.GetName()) {
				t.Errorf("README.md says nothing of %s", m.GetName())
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil || len(problems) > 0 || len(own) != 6 {
		t.Errorf("%d metrics, %v, %v", len(own), problems, err)
	}
}

// TestSharedMetrics has the metrics of upstreams be those that CoreDNS registers.
func TestSharedMetrics(t *testing.T) {
	m := newMetrics("192.0.2.2:53")
	m.hits.Inc()
	m.misses.Inc()
	m.observe(0, 1)
	m.observe(3, 1)
	m.observe(5, 1)
	m.observe(99, 1)
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, f := range all {
		for _, l := range f.GetMetric() {
			if strings.Contains(l.String(), "192.0.2.2:53") && strings.HasPrefix(f.GetName(), "coredns_proxy_") {
				found[f.GetName()]++
			}
		}
	}
	if found["coredns_proxy_request_duration_seconds"] != 4 || found["coredns_proxy_conn_cache_hits_total"] != 1 || found["coredns_proxy_conn_cache_misses_total"] != 1 {
		t.Error(found)
	}
}
