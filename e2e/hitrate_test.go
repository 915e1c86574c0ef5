// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/prometheus"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// TestHitRate compares the hit rates of dashboards for CoreDNS with what is true: every fifth query is for a new name. Grafana's 12539, on
// which 14570 is based, has the rates of hits and of misses. Others divide the hits by the requests.
func TestHitRate(t *testing.T) {
	for name, base := range map[string]string{
		"packet cache": string(corefiles.Kubernetes), "no packet cache": strings.ReplaceAll(string(corefiles.Kubernetes), "    packetcache\n", ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hitRate(t, base)
		})
	}
}

// hitRates are the expressions of the dashboards. Their time is 5 minutes.
var hitRates = []string{
	"sum(rate(coredns_cache_hits_total{%[1]s}[%[2]s])) / (sum(rate(coredns_cache_hits_total{%[1]s}[%[2]s])) + sum(rate(coredns_cache_misses_total{%[1]s}[%[2]s])))",
	"sum(rate(coredns_cache_hits_total{%[1]s}[%[2]s])) / sum(rate(coredns_cache_requests_total{%[1]s}[%[2]s]))",
}

func hitRate(t *testing.T, base string) {
	const tag, queries = "fifth", 2000 // of each client
	l := lab.New(t, lab.NFTables)
	start(t, l, options{firewall: lab.NFTables, base: base})
	p := prometheus.Start(t, l.Node, "127.0.0.1:9253", "")
	var probes []client.Probe
	for i, tcp := range []bool{false, false, true} {
		fresh := client.Unique(fmt.Sprintf("%s%d", tag, i))
		probes = append(probes, client.Probe{
			From: l.Pod, Target: lab.LinkLocal, TCP: tcp, Interval: 10 * time.Millisecond, Timeout: 5 * time.Second,
			Name: func(i int) string {
				if i%5 == 0 {
					return fresh(i)
				}
				return "web.default.svc.cluster.local."
			},
		})
	}
	loads := client.StartAll(t, probes...)
	progress(t, loads, 300) // series that are new would count less than they have counted
	begin := time.Now()
	for _, load := range loads {
		harness.Until(t, time.Minute, "load", func() error {
			if n := load.SoFar().Answered(); n < queries {
				return fmt.Errorf("%d answers", n)
			}
			return nil
		})
	}
	end := time.Now()
	noFailure(t, stop(t, loads))
	asked := 0
	for _, load := range loads {
		asked += load.SoFar().Sent
	}
	truth := 1 - float64(len(distinct(l.ClusterDNS.Seen(tag))))/float64(asked)
	window := fmt.Sprintf("%ds", int(end.Sub(begin).Seconds()))
	for _, expression := range hitRates {
		rate := p.Value(t, fmt.Sprintf(expression, `instance=~".+",job=~".+"`, window), end)
		t.Logf("%.4f of %d, %.4f by %s", truth, asked, rate, expression)
		if math.Abs(rate-truth) > 0.01 {
			t.Errorf("hit rate %.4f, and in truth %.4f: %s", rate, truth, expression)
		}
	}
}

// distinct are the names that a server was asked for.
func distinct(seen []upstream.Seen) map[string]bool {
	names := map[string]bool{}
	for _, s := range seen {
		names[s.Name] = true
	}
	return names
}
