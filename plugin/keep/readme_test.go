// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/manpage"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

func TestExamplesOfTheREADME(t *testing.T) {
	for i, e := range manpage.Examples(t, 2) {
		c := caddy.NewTestController("dns", "")
		c.Dispenser = caddyfile.NewDispenserTokens("README.md", e.Block.Tokens["keep"])
		d, err := parse(c)
		if err != nil {
			t.Errorf("%v\n%s", err, e.Text)
		}
		r := rulesOf(e.Block.Tokens["cache"])
		if !r.cached || i == 0 && (d.Dir != "/run/nodelocaldns" || r.stale.mode != staleVerify) || i == 1 && (d.Size != 4*store.DefaultSize || d.bareDenial == 0) {
			t.Errorf("%+v, %+v", d, r)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	if err := shared.Open(store.Options{Size: store.MinSize}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shared.Close() }()
	manpage.CheckMetrics(t, "keep", 7)
}
