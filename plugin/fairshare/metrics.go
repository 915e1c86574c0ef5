// SPDX-License-Identifier: Apache-2.0

package fairshare

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const subsystem = "fairshare"

var (
	refusedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "refused_total",
		Help: "Number of questions answered with SERVFAIL at once, by reason: share (the client has its share of the places), full.",
	}, []string{"zone", "reason"})
	waiting = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "waiting",
		Help: "Number of questions that wait for an answer.",
	}, []string{"zone"})
)
