// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const subsystem = "packetcache"

var (
	hitsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "hits_total",
		Help: "Counter of queries that were answered by the packet cache.",
	}, []string{"server"})
	missesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "misses_total",
		Help: "Counter of queries that the packet cache read and handed on to the plugins, or answered with FORMERR or NOTIMP by their header.",
	}, []string{"server"})
	refusedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "refused_total",
		Help: "Counter of queries that were answered with SERVFAIL, or dropped if of an unusual form, because too many were with the plugins.",
	}, []string{"server", "reason"})
	unsentTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "unsent_total",
		Help: "Counter of answers that the kernel did not take.",
	}, []string{"server"})
)
