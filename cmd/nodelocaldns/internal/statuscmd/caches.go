// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// Names of the caches in a report.
const (
	packetCache = "packetcache"
	cache       = "cache" // with the hits of the packet cache, which count there, too
	keep        = "keep"
)

// Caches fills in the caches' part of a report of this process, from its metrics.
func Caches(r *status.Report) {
	families, _ := prometheus.DefaultGatherer.Gather() // what cannot be collected is 0
	r.Caches = cachesOf(families)
}

func cachesOf(families []*dto.MetricFamily) []status.Cache {
	sums := map[string]uint64{} // of all label values, by name
	var stale uint64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := uint64(m.GetCounter().GetValue())
			sums[f.GetName()] += n
			for _, l := range m.GetLabel() {
				if f.GetName() == "coredns_keep_hits_total" && l.GetValue() == "stale" {
					stale += n
				}
			}
		}
	}
	misses := func(requests, hits string) uint64 { return sums[requests] - min(sums[hits], sums[requests]) } // read one after the other
	return []status.Cache{
		{Name: packetCache, Hits: sums["coredns_packetcache_hits_total"], Misses: sums["coredns_packetcache_misses_total"]},
		{Name: cache, Hits: sums["coredns_cache_hits_total"], Misses: misses("coredns_cache_requests_total", "coredns_cache_hits_total"),
			Old: sums["coredns_cache_served_stale_total"]},
		{Name: keep, Hits: sums["coredns_keep_hits_total"], Misses: misses("coredns_keep_requests_total", "coredns_keep_hits_total"), Old: stale},
	}
}
