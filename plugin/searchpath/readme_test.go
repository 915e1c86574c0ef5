// SPDX-License-Identifier: Apache-2.0

package searchpath

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
		c := &caddy.Controller{Dispenser: caddyfile.NewDispenserTokens("README.md", blocks[0].Tokens["searchpath"]), ServerBlockKeys: blocks[0].Keys}
		zones, cuts, err := parse(c)
		if err != nil || len(zones) != 1 || zones[0] != testZone || cuts == strings.Contains(text, "cuts off") {
			t.Errorf("%v %v %v\n%s", zones, cuts, err, text)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	answersTotal.WithLabelValues(testZone, byCut).Inc()
	probesTotal.WithLabelValues(testZone, denied.String()).Inc()
	auditsTotal.WithLabelValues(testZone, agreed).Inc()
	zoneActive.WithLabelValues(testZone).Set(1)
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_searchpath_") {
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
	for _, result := range []string{silence.String(), exists.String(), denied.String(), otherwise.String(), agreed, changed, disagreed, byName, byCut} {
		if !strings.Contains(readme(t), "`"+result+"`") {
			t.Errorf("README.md says nothing of the label %s", result)
		}
	}
}
