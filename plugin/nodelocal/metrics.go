// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/coremain"
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

const subsystem = "nodelocal"

var (
	steeringOpts = prometheus.Opts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "steering",
		Help: "Whether DNS to the address is steered to this cache (1) or goes to the cluster DNS (0).",
	}
	linkPresent = promauto.NewGauge(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "link_present",
		Help: "Whether the link with the cache's addresses is there (1).",
	})
	rulesPresent = promauto.NewGauge(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "rules_present",
		Help: "Whether the firewall rules and the fallback table are as the cache set them (1).",
	})
	leaseFailures = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "lease_renewal_failures_total",
		Help: "Counter of failed renewals of the addresses' lease.",
	})
	selfQueries = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "self_queries_total",
		Help: "Counter of rounds of queries that the cache asked itself, by address and result: answered, failed, foreign (by another instance), unasked (for want of a file descriptor).",
	}, []string{"address", "result"})
	withdrawals = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "withdrawals_total",
		Help: "Counter of times that steering went off, by reason: self_query, lease, reload, shutdown, loop.",
	}, []string{"reason"})
	repairs = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "repairs_total",
		Help: "Counter of objects put back that another program had removed or changed: link, address, rules, fallback.",
	}, []string{"object"})
	connectionsClosed = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "connections_closed_total",
		Help: "Counter of TCP connections of clients that were closed because their client had more than its share.",
	})
	buildInfo = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "build_info",
		Help: "A metric with a constant '1' value labeled by version, revision, coredns and goversion of this build.",
	}, []string{"version", "revision", "coredns", "goversion"})

	// ConfigReloads counts changes of the configuration that took effect
	// (result "success") or did not ("error").
	ConfigReloads = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "config_reloads_total",
		Help: "Counter of configuration changes by result: success, error.",
	}, []string{"result"})

	// ConfigValid is 1 while the configuration that runs is the one that the
	// inputs (flags, template, ConfigMap, resolv.conf) say, and 0 while these
	// cannot be used. A program without such inputs leaves it at 1.
	ConfigValid = promauto.NewGauge(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "config_valid",
		Help: "Whether the running configuration is what template, ConfigMap and flags say (1), or these cannot be used (0).",
	})

	// SetupErrors is the reference's metric, under its name: errortype is
	// iptables, iptables_lock, interface_add, interface_check, configmap or turn.
	SetupErrors = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "nodecache", Name: "setup_errors_total",
		Help: "Counter of errors while setting up the node's network, by type.",
	}, []string{"errortype"})
)

// lastSync is when link, rules and fallback were last seen to be right.
var lastSync atomic.Pointer[time.Time]

var _ = promauto.NewGaugeFunc(prometheus.GaugeOpts{
	Namespace: plugin.Namespace, Subsystem: subsystem, Name: "last_sync_age_seconds",
	Help: "Seconds since link, rules and fallback were last seen to be right; -1 before the first time.",
}, func() float64 {
	if t := lastSync.Load(); t != nil {
		return time.Since(*t).Seconds()
	}
	return -1
})

// lastRound is when the supervisor's last round ended; nil: it has done none, or there is nothing to supervise.
var lastRound atomic.Pointer[time.Time]

var _ = promauto.NewGaugeFunc(prometheus.GaugeOpts{
	Namespace: plugin.Namespace, Subsystem: subsystem, Name: "last_round_timestamp_seconds",
	Help: "Unix time of the end of the supervisor's last round, of which there is one a second; 0 if there is nothing to supervise.",
}, func() float64 {
	if t := lastRound.Load(); t != nil {
		return float64(t.UnixMilli()) / 1000
	}
	return 0
})

func init() {
	prometheus.MustRegister(steeringCollector{hostnet.IsLocal})
	ConfigValid.Set(1)
	for _, t := range []string{"iptables", "iptables_lock", "interface_add", "interface_check", "configmap", "turn"} {
		SetupErrors.WithLabelValues(t)
	}
	for _, object := range []string{"link", "address", "rules", "fallback"} {
		repairs.WithLabelValues(object)
	}
	for _, reason := range []string{"self_query", "lease", "reload", "shutdown", "loop"} {
		withdrawals.WithLabelValues(reason)
	}
	for _, result := range []string{"success", "error"} {
		ConfigReloads.WithLabelValues(result)
	}
}

// SetBuildInfo publishes what the program was built from.
func SetBuildInfo(version, revision string) {
	buildInfo.WithLabelValues(version, revision, coremain.CoreVersion, runtime.Version()).Set(1)
}

// ruleErrorType is the errortype of an error of the firewall.
func ruleErrorType(err error) string {
	if errors.Is(err, hostnet.ErrLocked) {
		return "iptables_lock"
	}
	return "iptables"
}
