// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"os"
	"strings"
	"testing"

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
		if reason := checkBlock(blocks[0], blocks); reason != "" {
			t.Errorf("not used in an example: %s", reason)
		}
		o, _, _, err := parse(controller(blocks[0].Tokens["packetcache"]))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		if strings.Contains(text, "ttl 5s") && (o.TTL != 5*defaultTTL || o.Size != 32<<20) {
			t.Errorf("%+v", o)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	hitsTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	missesTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	refusedTotal.WithLabelValues("dns://127.0.0.1:53", "full").Inc()
	unsentTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_packetcache_") {
			own = append(own, m)
			if !strings.Contains(readme(t), "`"+m.GetName()) {
				t.Errorf("README.md says nothing of %s", m.GetName())
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil || len(problems) > 0 || len(own) != 4 {
		t.Errorf("%d metrics, %v, %v", len(own), problems, err)
	}
}
