// SPDX-License-Identifier: Apache-2.0

package keep

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
	for i, part := range parts[1:] {
		text, _, _ := strings.Cut(part, "~~~")
		b := block(t, text)
		c := caddy.NewTestController("dns", "")
		c.Dispenser = caddyfile.NewDispenserTokens("README.md", b.Tokens["keep"])
		d, err := parse(c)
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		r := rulesOf(b.Tokens["cache"])
		if !r.cached || i == 0 && (d.Dir != "/run/nodelocaldns" || r.stale.mode != staleVerify) || i == 1 && (d.Size != 4*defaultSize || d.bareDenial == 0) {
			t.Errorf("%+v, %+v", d, r)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	if err := shared.open(options{"", minSize}); err != nil {
		t.Fatal(err)
	}
	defer forget(&shared)
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_keep_") {
			own = append(own, m)
			if !strings.Contains(readme(t), "`"+m.GetName()) {
				t.Errorf("README.md says nothing of %s", m.GetName())
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil || len(problems) > 0 || len(own) != 7 {
		t.Errorf("%d metrics, %v, %v", len(own), problems, err)
	}
}
