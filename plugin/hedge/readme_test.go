// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/manpage"
)

func TestExamplesOfTheREADME(t *testing.T) {
	for _, e := range manpage.Examples(t, 2) {
		c := caddy.NewTestController("dns", "")
		c.Dispenser = caddyfile.NewDispenserTokens("README.md", e.Block.Tokens["hedge"])
		if all, err := parseAll(c); err != nil || len(all) != 1 {
			t.Errorf("%v\n%s", err, e.Text)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	newMetrics("192.0.2.1:53")
	gauges.begin("192.0.2.1:53")
	defer gauges.end("192.0.2.1:53")
	manpage.CheckMetrics(t, "hedge", 6)
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := manpage.Text(t)
	for _, m := range all { // those that are shared, too
		for _, l := range m.GetMetric() {
			if strings.Contains(l.String(), "192.0.2.1:53") && !strings.Contains(text, "`"+m.GetName()) {
				t.Errorf("README.md says nothing of %s", m.GetName())
			}
		}
	}
}

// TestSharedMetrics checks that the metrics of upstreams are the collectors of CoreDNS.
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
