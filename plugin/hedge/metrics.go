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
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const subsystem = "hedge"

var (
	attemptsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "attempts_total",
		Help: "Number of times a question was sent. kind is first, hedge (beside an attempt without an answer) or retry (after one that was refused or reset).",
	}, []string{"to", "kind"})
	winsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "wins_total",
		Help: "Number of questions that were answered by another attempt than the first.",
	}, []string{"to"})
	exhaustedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "budget_exhausted_total",
		Help: "Number of attempts that were not made because too many others had been made beside the first ones.",
	}, []string{"to"})
	failuresTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "failures_total",
		Help: "Number of questions without an answer: their clients got an old one, or SERVFAIL.",
	}, []string{"to"})
	upstreamUp = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "upstream_up",
		Help: "1 if the upstream answers, 0 if it has answered neither a question nor a probe.",
	}, []string{"to"})
	rejects = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: subsystem, Name: "max_concurrent_rejects_total",
		Help: "Number of questions answered with SERVFAIL because max_concurrent others were waiting.",
	})

	// The metrics of upstreams that dashboards know. Their help texts are those of CoreDNS, whose collectors these are.
	requestDuration = shared(prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: "proxy", Name: "request_duration_seconds", Buckets: plugin.TimeBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor, Help: "Histogram of the time each request took.",
	}, []string{"proxy_name", "to", "rcode"}))
	connHits = shared(prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "proxy", Name: "conn_cache_hits_total",
		Help: "Counter of connection cache hits per upstream and protocol.",
	}, []string{"proxy_name", "to", "proto"}))
	connMisses = shared(prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "proxy", Name: "conn_cache_misses_total",
		Help: "Counter of connection cache misses per upstream and protocol.",
	}, []string{"proxy_name", "to", "proto"}))
)

// shared returns the collector that is registered already in the place of c. If there is none that is the same, as in
// another version of CoreDNS, c counts and is not seen.
func shared[C prometheus.Collector](c C) C {
	var registered prometheus.AlreadyRegisteredError
	if err := prometheus.Register(c); errors.As(err, &registered) {
		if existing, ok := registered.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// metrics are those of one upstream.
type metrics struct {
	first, hedges, retries, wins, exhausted, failures, hits, misses prometheus.Counter
	duration                                                        prometheus.ObserverVec
	success, denial                                                 prometheus.Observer
}

func newMetrics(to string) metrics {
	m := metrics{
		first:     attemptsTotal.WithLabelValues(to, "first"),
		hedges:    attemptsTotal.WithLabelValues(to, "hedge"),
		retries:   attemptsTotal.WithLabelValues(to, "retry"),
		wins:      winsTotal.WithLabelValues(to),
		exhausted: exhaustedTotal.WithLabelValues(to),
		failures:  failuresTotal.WithLabelValues(to),
		hits:      connHits.WithLabelValues(subsystem, to, "tcp"),
		misses:    connMisses.WithLabelValues(subsystem, to, "tcp"),
		duration:  requestDuration.MustCurryWith(prometheus.Labels{"proxy_name": subsystem, "to": to}),
	}
	m.success = m.duration.WithLabelValues(dns.RcodeToString[dns.RcodeSuccess])
	m.denial = m.duration.WithLabelValues(dns.RcodeToString[dns.RcodeNameError])
	return m
}

func (m metrics) observe(rcode int, d time.Duration) {
	o := m.success
	switch name, known := dns.RcodeToString[rcode]; {
	case rcode == dns.RcodeSuccess:
	case rcode == dns.RcodeNameError:
		o = m.denial
	case known:
		o = m.duration.WithLabelValues(name)
	default:
		o = m.duration.WithLabelValues(strconv.Itoa(rcode))
	}
	o.Observe(d.Seconds())
}

// gauges are upstreamUp's, which outlive a configuration: the next one may have the same upstreams, or not.
var gauges = &ups{users: map[string]int{}}

type ups struct {
	mu    sync.Mutex
	users map[string]int // configurations by upstream
}

// begin has the gauge of an upstream that a configuration begins with.
func (g *ups) begin(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users[addr]++
	upstreamUp.WithLabelValues(addr).Set(1)
}

// set changes it, as long as a configuration has the upstream.
func (g *ups) set(addr string, value float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[addr] > 0 {
		upstreamUp.WithLabelValues(addr).Set(value)
	}
}

// end takes it away with the last configuration.
func (g *ups) end(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[addr]--; g.users[addr] <= 0 {
		delete(g.users, addr)
		upstreamUp.DeleteLabelValues(addr)
	}
}
