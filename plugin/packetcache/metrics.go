// SPDX-License-Identifier: Apache-2.0

package packetcache

import "github.com/nodelocaldns/nodelocaldns/internal/metric"

const of = metric.Of("packetcache")

var (
	hitsTotal       = of.CounterVec("hits_total", "Counter of queries that were answered by the packet cache.", "server")
	kernelHitsTotal = of.CounterVec("kernel_hits_total",
		"Counter of the queries among coredns_packetcache_hits_total that were answered in the kernel.", "server")
	missesTotal = of.CounterVec("misses_total",
		"Counter of queries that the packet cache read and handed on to the plugins, or answered with FORMERR or NOTIMP by their header.", "server")
	refusedTotal = of.CounterVec("refused_total",
		"Counter of queries that were answered with SERVFAIL, or dropped if of an unusual form, because too many were with the plugins.",
		"server", "reason")
	unsentTotal = of.CounterVec("unsent_total", "Counter of answers that the kernel did not take.", "server")
)
