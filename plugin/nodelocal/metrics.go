// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/coremain"
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/metric"
)

// own declares this plugin's metrics.
const own = metric.Of("nodelocal")

var (
	linkPresent  = own.Gauge("link_present", "Whether the link with the cache's addresses is there (1).")
	rulesPresent = own.Gauge("rules_present",
		"Whether the firewall rules and the fallback table are as the cache set them (1).")
	leaseFailures = own.CounterVec("lease_renewal_failures_total", "Counter of failed renewals of the addresses' lease.")
	selfQueries   = own.CounterVec("self_queries_total",
		"Counter of rounds of queries that the cache asked itself, by address and result: answered, failed, foreign (by another instance), unasked (for want of a file descriptor).", "address", "result")
	withdrawals = own.CounterVec("withdrawals_total",
		"Counter of times that steering went off, by reason: self_query, lease, reload, shutdown, loop.", "reason")
	repairs = own.CounterVec("repairs_total",
		"Counter of objects put back that another program had removed or changed: link, address, rules, fallback.", "object")
	connectionsClosed = own.Counter("connections_closed_total",
		"Counter of TCP connections of clients that were closed because their client had more than its share.")
	buildInfo = own.GaugeVec("build_info",
		"A metric with a constant '1' value labeled by version, revision, coredns and goversion of this build.", "version", "revision", "coredns", "goversion")

	// ConfigReloads counts changes of the configuration that took effect (result "success") or did not ("error").
	ConfigReloads = own.CounterVec("config_reloads_total",
		"Counter of configuration changes by result: success, error.", "result")

	// ConfigValid is 1 while the configuration that runs is the one that the inputs (flags, template, ConfigMap, resolv.conf)
	// say, and 0 while these cannot be used. A program without such inputs leaves it at 1.
	ConfigValid = own.Gauge("config_valid",
		"Whether the running configuration is what template, ConfigMap and flags say (1), or these cannot be used (0).")

	// SetupErrors is the reference's metric, under its name: errortype is iptables, iptables_lock, interface_add,
	// interface_check, configmap or turn.
	SetupErrors = metric.Of("nodecache").CounterVec("setup_errors_total",
		"Counter of errors while setting up the node's network, by type.", "errortype")
)

// counters are those that a report counts, by the names that it uses.
var counters = map[string]*prometheus.CounterVec{
	"self_queries": selfQueries, "withdrawals": withdrawals, "repairs": repairs, "setup_errors": SetupErrors, "lease_failures": leaseFailures,
}

var (
	// lastSync is when link, rules and fallback were last seen to be right; nil: they were not yet, or there is nothing to supervise.
	lastSync atomic.Pointer[time.Time]
	// lastRound is when the supervisor's last round ended; nil: it has done none, or there is nothing to supervise.
	lastRound atomic.Pointer[time.Time]
)

// moment declares a gauge of a time, in seconds since 1970; 0 while there is none.
func moment(at *atomic.Pointer[time.Time], name, help string) {
	promauto.NewGaugeFunc(prometheus.GaugeOpts{Namespace: plugin.Namespace, Subsystem: string(own), Name: name, Help: help}, func() float64 {
		if t := at.Load(); t != nil {
			return float64(t.UnixMilli()) / 1000
		}
		return 0
	})
}

func init() {
	moment(&lastSync, "last_sync_timestamp_seconds",
		"Unix time at which link, rules and fallback were last seen to be right; 0 before the first time, and if there is nothing to supervise.")
	moment(&lastRound, "last_round_timestamp_seconds",
		"Unix time of the end of the supervisor's last round, of which there is one a second; 0 if there is nothing to supervise.")
	prometheus.MustRegister(steeringCollector{hostnet.IsLocal})
	ConfigValid.Set(1)
	leaseFailures.WithLabelValues()
	for vec, labels := range map[*prometheus.CounterVec][]string{
		SetupErrors:   {"iptables", "iptables_lock", "interface_add", "interface_check", "configmap", "turn"},
		repairs:       {"link", "address", "rules", "fallback"},
		withdrawals:   {"self_query", "lease", "reload", "shutdown", "loop"},
		ConfigReloads: {"success", "error"},
	} {
		for _, l := range labels {
			vec.WithLabelValues(l)
		}
	}
}

// SetBuildInfo publishes what the program was built from.
func SetBuildInfo(version, revision string) {
	buildInfo.WithLabelValues(version, revision, coremain.CoreVersion, runtime.Version()).Set(1)
}

// A steering is what the supervisor has set. Nobody changes it once belief points to it.
type steering struct {
	config  hostnet.Config
	steered []netip.Addr
	kinds   []string // of link, firewall and fallback: the labels of infoDesc
}

// belief is the supervisor's last word on the steering; nil: there was none.
var belief atomic.Pointer[steering]

// kinds returns what the metric info says of a network.
func kinds(s hostnet.Status) []string {
	return []string{s.Link, s.Firewall, cmp.Or(addrList(s.Fallback), hostnet.None)}
}

var (
	steeringDesc = prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, string(own), "steering"),
		"Whether DNS to the address is steered to this cache (1) or goes to the cluster DNS (0).", []string{"address"}, nil)
	infoDesc = prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, string(own), "info"),
		"A metric with a constant '1' value labeled by kind of link, firewall backend, and addresses for which the cluster DNS answers while the cache is away (fallback).",
		[]string{"link", "firewall", "fallback"}, nil)
)

// A steeringCollector asks the kernel at each scrape, so that the metric is right while the supervisor stands still.
type steeringCollector struct {
	isLocal func(netip.Addr) bool
}

// Describe implements prometheus.Collector.
func (steeringCollector) Describe(out chan<- *prometheus.Desc) {
	out <- steeringDesc
	out <- infoDesc
}

// Collect implements prometheus.Collector.
func (c steeringCollector) Collect(out chan<- prometheus.Metric) {
	s := belief.Load()
	if s == nil {
		return
	}
	out <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, s.kinds...)
	for _, a := range s.config.Addresses {
		on := 0.0
		if slices.Contains(s.steered, a) && s.leased() && c.isLocal(a) {
			on = 1
		}
		out <- prometheus.MustNewConstMetric(steeringDesc, prometheus.GaugeValue, on, a.String())
	}
}

// leased reports whether the steering that the supervisor has set still holds. If the supervisor stops, the kernel takes an
// address off a link of ours at the end of the lease. An address on somebody else's link stays there, so the supervisor's last
// round has to be younger than the lease.
func (s *steering) leased() bool {
	if s.config.Link != hostnet.None || s.config.Lease == 0 {
		return true
	}
	last := lastRound.Load()
	return last != nil && time.Since(*last) < s.config.Lease
}
