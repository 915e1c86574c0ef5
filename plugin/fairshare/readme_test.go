// SPDX-License-Identifier: Apache-2.0

package fairshare

import (
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/manpage"
	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

func TestExamplesOfTheREADME(t *testing.T) {
	for _, e := range manpage.Examples(t, 1) {
		c := caddy.NewTestController("dns", "")
		c.Dispenser = caddyfile.NewDispenserTokens("README.md", e.Block.Tokens["fairshare"])
		if most, err := parse(c); err != nil || most != 1000 {
			t.Errorf("%d, %v\n%s", most, err, e.Text)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	New("metrics.test.", 1)
	for _, v := range []shares.Verdict{shares.OverShare, shares.Full} {
		refusedTotal.WithLabelValues("metrics.test.", v.String()).Inc()
		if !strings.Contains(manpage.Text(t), "`"+v.String()+"`") {
			t.Errorf("README.md says nothing of the reason %s", v)
		}
	}
	manpage.CheckMetrics(t, "fairshare", 2)
}
