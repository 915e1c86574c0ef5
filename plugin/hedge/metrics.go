// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/pkg/proxy" // registers the metrics of upstreams, which are shared with it
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/metric"
)

const of = metric.Of("hedge")

var (
	attemptsTotal = of.CounterVec("attempts_total",
		"Number of times a question was sent. kind is first, hedge (beside an attempt without an answer) or retry (after one that was refused or reset).", "to", "kind")
	winsTotal      = of.CounterVec("wins_total", "Number of questions that were answered by another attempt than the first.", "to")
	exhaustedTotal = of.CounterVec("budget_exhausted_total",
		"Number of attempts that were not made because too many others had been made beside the first ones.", "to")
	failuresTotal = of.CounterVec("failures_total", "Number of questions without an answer. The client got an old answer or SERVFAIL.", "to")
	upstreamUp    = of.GaugeVec("upstream_up", "1 if the upstream answers, 0 if it has answered neither a question nor a probe.", "to")
	rejects       = of.Counter("max_concurrent_rejects_total", "Number of questions answered with SERVFAIL because max_concurrent others were waiting.")

	// Dashboards know these metrics of upstreams. CoreDNS registers them, with the same help texts.
	requestDuration = shared(prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: "proxy", Name: "request_duration_seconds", Buckets: plugin.TimeBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor, Help: "Histogram of the time each request took.",
	}, []string{"proxy_name", "to", "rcode"}))
	connHits, connMisses = connCache("hits"), connCache("misses")
)

func connCache(what string) *prometheus.CounterVec {
	return shared(prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "proxy", Name: "conn_cache_" + what + "_total",
		Help: "Counter of connection cache " + what + " per upstream and protocol.",
	}, []string{"proxy_name", "to", "proto"}))
}

// shared registers c, or returns the registered collector with the same description. If another version of CoreDNS has
// registered a collector with another description, c counts and is not exported.
func shared[C prometheus.Collector](c C) C {
	var registered prometheus.AlreadyRegisteredError
	if err := prometheus.Register(c); errors.As(err, &registered) {
		if existing, ok := registered.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// metrics are the metrics of one upstream.
type metrics struct {
	first, hedges, retries, wins, exhausted, failures, hits, misses prometheus.Counter
	duration                                                        prometheus.ObserverVec
	success, denial                                                 prometheus.Observer // of duration, without a look-up
}

func newMetrics(to string) metrics {
	m := metrics{
		first:     attemptsTotal.WithLabelValues(to, "first"),
		hedges:    attemptsTotal.WithLabelValues(to, "hedge"),
		retries:   attemptsTotal.WithLabelValues(to, "retry"),
		wins:      winsTotal.WithLabelValues(to),
		exhausted: exhaustedTotal.WithLabelValues(to),
		failures:  failuresTotal.WithLabelValues(to),
		hits:      connHits.WithLabelValues(string(of), to, "tcp"),
		misses:    connMisses.WithLabelValues(string(of), to, "tcp"),
		duration:  requestDuration.MustCurryWith(prometheus.Labels{"proxy_name": string(of), "to": to}),
	}
	m.success = m.duration.WithLabelValues(dns.RcodeToString[dns.RcodeSuccess])
	m.denial = m.duration.WithLabelValues(dns.RcodeToString[dns.RcodeNameError])
	return m
}

func (m metrics) observe(rcode int, d time.Duration) {
	switch name, known := dns.RcodeToString[rcode]; {
	case rcode == dns.RcodeSuccess:
		m.success.Observe(d.Seconds())
	case rcode == dns.RcodeNameError:
		m.denial.Observe(d.Seconds())
	case known:
		m.duration.WithLabelValues(name).Observe(d.Seconds())
	default:
		m.duration.WithLabelValues(strconv.Itoa(rcode)).Observe(d.Seconds())
	}
}

// gauges holds the values of upstreamUp. They outlive a configuration: the next one may have some of the same upstreams.
var gauges = &ups{users: map[string]int{}}

type ups struct {
	mu    sync.Mutex
	users map[string]int // number of configurations with an upstream, by address
}

// begin exports the gauge of an upstream, with 1. A configuration calls begin when it starts to serve.
func (g *ups) begin(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users[addr]++
	upstreamUp.WithLabelValues(addr).Set(1)
}

// set changes the gauge while a configuration has the upstream.
func (g *ups) set(addr string, value float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[addr] > 0 {
		upstreamUp.WithLabelValues(addr).Set(value)
	}
}

// end deletes the gauge when the last configuration with the upstream has ended.
func (g *ups) end(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[addr]--; g.users[addr] <= 0 {
		delete(g.users, addr)
		upstreamUp.DeleteLabelValues(addr)
	}
}
