// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/metric"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

const of = metric.Of("keep")

var (
	requestsTotal  = of.Counter("requests_total", "Counter of clients' queries that came to keep, since the plugin cache had no answer.")
	hitsTotal      = of.CounterVec("hits_total", "Counter of queries that were answered from what is kept, fresh or stale.", "kind")
	coalescedTotal = of.Counter("coalesced_total", "Counter of queries that waited for the answer to the same question instead of asking the upstream.")
	impatientTotal = of.Counter("impatient_total", "Counter of queries that were told SERVFAIL, since the answer to the same question did not come within 10 s.")
	// hits has the counter of each Freshness.
	hits = map[store.Freshness]prometheus.Counter{
		store.Fresh: hitsTotal.WithLabelValues("fresh"), store.Old: hitsTotal.WithLabelValues("stale"), store.Spared: hitsTotal.WithLabelValues("stale"),
	}
)

func init() { prometheus.MustRegister(prometheus.CollectorFunc(usage)) }

var (
	entriesDesc = prometheus.NewDesc("coredns_keep_entries", "Number of questions whose answers are kept, those out of date included.", []string{"kind"}, nil)
	bytesDesc   = prometheus.NewDesc("coredns_keep_bytes", "Memory that answers take, in bytes.", []string{"kind"}, nil)
)

// usage collects the sizes of the store.
func usage(ch chan<- prometheus.Metric) {
	s := shared.Store()
	if s == nil {
		return
	}
	for k := range store.Kinds {
		entries, octets := s.Usage(k)
		ch <- prometheus.MustNewConstMetric(entriesDesc, prometheus.GaugeValue, float64(entries), k.String())
		ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(octets), k.String())
	}
}
