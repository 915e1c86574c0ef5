// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const subsystem = "searchpath"

// Values of the label kind.
const (
	byName = "name" // the name itself was denied, for A or AAAA
	byCut  = "cut"  // a name above it was denied
)

var (
	answersTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "answers_total",
		Help: "Counter of queries that were answered locally.",
	}, []string{"zone", "kind"})
	probesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "probes_total",
		Help: "Counter of questions to the cluster DNS whether the name of a cut exists.",
	}, []string{"zone", "result"})
	auditsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "audits_total",
		Help: "Counter of questions to the cluster DNS whether a local answer was right.",
	}, []string{"zone", "result"})
	zoneActive = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "zone_active",
		Help: "Whether queries of the zone are answered locally: 1, or 0 when that was given up until the next reload.",
	}, []string{"zone"})
)
