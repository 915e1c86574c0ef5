// SPDX-License-Identifier: Apache-2.0

package fairshare

import "github.com/nodelocaldns/nodelocaldns/internal/metric"

const of = metric.Of("fairshare")

var (
	refusedTotal = of.CounterVec("refused_total",
		"Number of questions answered with SERVFAIL at once, by reason: share (the client has its share of the places), full.", "zone", "reason")
	waiting = of.GaugeVec("waiting", "Number of questions that wait for an answer.", "zone")
)
