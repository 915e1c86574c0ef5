// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A steering is what the supervisor has set. Nobody changes it once belief points to it.
type steering struct {
	config  hostnet.Config
	steered []netip.Addr
}

// belief is the supervisor's last word on the steering; nil: there was none.
var belief atomic.Pointer[steering]

var steeringDesc = prometheus.NewDesc(prometheus.BuildFQName(steeringOpts.Namespace, steeringOpts.Subsystem, steeringOpts.Name),
	steeringOpts.Help, []string{"address"}, nil)

// A steeringCollector asks the kernel at each scrape: a supervisor that stands still has no part in what the metric says.
type steeringCollector struct {
	isLocal func(netip.Addr) bool
}

// Describe implements prometheus.Collector.
func (steeringCollector) Describe(out chan<- *prometheus.Desc) { out <- steeringDesc }

// Collect implements prometheus.Collector.
func (c steeringCollector) Collect(out chan<- prometheus.Metric) {
	s := belief.Load()
	if s == nil {
		return
	}
	for _, a := range s.config.Addresses {
		on := 0.0
		if slices.Contains(s.steered, a) && s.leased() && c.isLocal(a) {
			on = 1
		}
		out <- prometheus.MustNewConstMetric(steeringDesc, prometheus.GaugeValue, on, a.String())
	}
}

// leased reports whether what the supervisor has set still holds. If the supervisor stops, the kernel takes an address on a
// link of ours away at the end of its lease. An address on somebody else's link stays; for that one the supervisor's last
// round has to be younger than the lease.
func (s *steering) leased() bool {
	if s.config.Link != hostnet.None || s.config.Lease == 0 {
		return true
	}
	last := lastRound.Load()
	return last != nil && time.Since(*last) < s.config.Lease
}
