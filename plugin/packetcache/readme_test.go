// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/manpage"
)

func TestExamplesOfTheREADME(t *testing.T) {
	for _, e := range manpage.Examples(t, 3) {
		if reason := checkBlock(e.Block, []caddyfile.ServerBlock{e.Block}); reason != "" {
			t.Errorf("not used in an example: %s", reason)
		}
		o, _, err := parse(controller(e.Block.Tokens["packetcache"]))
		if err != nil {
			t.Errorf("%v\n%s", err, e.Text)
		}
		if strings.Contains(e.Text, "ttl 5s") && (o.TTL != 5*defaultTTL || o.Size != 32<<20) {
			t.Errorf("%+v", o)
		}
		if strings.Contains(e.Text, "kernel\n") != (o.Kernel == kernelOn) {
			t.Errorf("%+v", o)
		}
	}
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	hitsTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	missesTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	refusedTotal.WithLabelValues("dns://127.0.0.1:53", "full").Inc()
	kernelHitsTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	unsentTotal.WithLabelValues("dns://127.0.0.1:53").Inc()
	manpage.CheckMetrics(t, "packetcache", 5)
}
