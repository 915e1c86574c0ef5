// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/manpage"
)

func TestExamplesOfTheREADME(t *testing.T) {
	for _, e := range manpage.Examples(t, 2) {
		c := &caddy.Controller{Dispenser: caddyfile.NewDispenserTokens("README.md", e.Block.Tokens["searchpath"]), ServerBlockKeys: e.Block.Keys}
		zones, cuts, err := parse(c)
		if err != nil || len(zones) != 1 || zones[0] != testZone || cuts == strings.Contains(e.Text, "cuts off") {
			t.Errorf("%v %v %v\n%s", zones, cuts, err, e.Text)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	answersTotal.WithLabelValues(testZone, byCut).Inc()
	probesTotal.WithLabelValues(testZone, denied.String()).Inc()
	auditsTotal.WithLabelValues(testZone, agreed).Inc()
	zoneActive.WithLabelValues(testZone).Set(1)
	manpage.CheckMetrics(t, "searchpath", 4)
	text := manpage.Text(t)
	for _, result := range []string{silence.String(), exists.String(), denied.String(), otherwise.String(), agreed, changed, disagreed, byName, byCut} {
		if !strings.Contains(text, "`"+result+"`") {
			t.Errorf("README.md says nothing of the label %s", result)
		}
	}
}
