// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

const subsystem = "keep"

var (
	requestsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "requests_total",
		Help: "Counter of clients' queries that came to keep, since the plugin cache had no answer.",
	})
	hitsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "hits_total",
		Help: "Counter of queries that were answered from what is kept, fresh or stale.",
	}, []string{"kind"})
	coalescedTotal = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "coalesced_total",
		Help: "Counter of queries that waited for the answer to the same question instead of asking the upstream.",
	})
	impatientTotal = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "impatient_total",
		Help: "Counter of queries that were told SERVFAIL, since the answer to the same question did not come within 10 s.",
	})
	// hits are by freshness.
	hits = map[store.Freshness]prometheus.Counter{
		store.Fresh: hitsTotal.WithLabelValues("fresh"), store.Old: hitsTotal.WithLabelValues("stale"), store.Spared: hitsTotal.WithLabelValues("stale"),
	}
)

func init() { prometheus.MustRegister(usage{}) }

// usage collects how much the store of this process holds.
type usage struct{}

var (
	entriesDesc = prometheus.NewDesc("coredns_keep_entries", "Number of questions whose answers are kept, those out of date included.", []string{"kind"}, nil)
	bytesDesc   = prometheus.NewDesc("coredns_keep_bytes", "Memory that answers take, in bytes.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (usage) Describe(ch chan<- *prometheus.Desc) {
	ch <- entriesDesc
	ch <- bytesDesc
}

// Collect implements prometheus.Collector.
func (usage) Collect(ch chan<- prometheus.Metric) {
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
