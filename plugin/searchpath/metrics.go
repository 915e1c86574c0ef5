// SPDX-License-Identifier: Apache-2.0

package searchpath

import "github.com/nodelocaldns/nodelocaldns/internal/metric"

// Values of the label kind.
const (
	byName = "name" // the cluster DNS denied the name itself, for A or AAAA
	byCut  = "cut"  // the cluster DNS denied a name above it
)

const of = metric.Of("searchpath")

var (
	answersTotal = of.CounterVec("answers_total", "Counter of queries that were answered locally.", "zone", "kind")
	probesTotal  = of.CounterVec("probes_total", "Counter of questions to the cluster DNS whether the name of a cut exists.", "zone", "result")
	auditsTotal  = of.CounterVec("audits_total", "Counter of questions to the cluster DNS whether a local answer was right.", "zone", "result")
	zoneActive   = of.GaugeVec("zone_active", "1 if queries of the zone are answered locally, 0 if they are not until the next reload.", "zone")
)
