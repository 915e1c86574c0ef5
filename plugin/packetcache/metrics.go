// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics/vars"

	"github.com/miekg/dns"
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

// counters are those of CoreDNS's prometheus plugin for queries that are alike.
// With them a hit is counted as that plugin would count it (vars.Report).
type counters struct {
	requests, responses, do             prometheus.Counter // do is nil without the bit
	duration, requestSize, responseSize prometheus.Observer
	requestSizeValue, responseSizeValue float64
}

// uncounted is for entries whose server block has no prometheus.
var uncounted = new(counters)

// newCounters returns those for hits on e.
func newCounters(e *entry, s *server) *counters {
	p := e.block.prometheus
	var m dns.Msg
	if p == nil || m.Unpack(e.wire) != nil {
		return uncounted
	}
	server, q := s.dns.Addr, m.Question[0]
	zone := plugin.Zones(p.ZoneNames()).Matches(strings.ToLower(q.Name))
	if zone == "" {
		zone = "."
	}
	first := "" // the plugin behind prometheus
	if p.Next != nil {
		first = p.Next.Name()
	}
	family := "1"
	if s.listener.addr.Addr().Is6() {
		family = "2"
	}
	c := &counters{
		requests:          vars.RequestCount.WithLabelValues(server, zone, "", "udp", family, typeLabel(q.Qtype)),
		responses:         vars.ResponseRcode.WithLabelValues(server, zone, "", dns.RcodeToString[m.Rcode], first),
		duration:          vars.RequestDuration.WithLabelValues(server, zone, ""),
		requestSize:       vars.RequestSize.WithLabelValues(server, zone, "", "udp"),
		responseSize:      vars.ResponseSize.WithLabelValues(server, zone, "", "udp"),
		requestSizeValue:  float64(e.query),
		responseSizeValue: float64(e.size),
	}
	if e.key[len(e.key)-3]&hasDO != 0 {
		c.do = vars.RequestDo.WithLabelValues(server, zone, "")
	}
	return c
}

// hit counts one hit that took the given time.
func (c *counters) hit(took time.Duration) {
	if c == uncounted {
		return
	}
	c.requests.Inc()
	c.responses.Inc()
	if c.do != nil {
		c.do.Inc()
	}
	c.duration.Observe(took.Seconds())
	c.requestSize.Observe(c.requestSizeValue)
	c.responseSize.Observe(c.responseSizeValue)
}

// labelled are the types that have a label of their own in CoreDNS's metrics
// (plugin/metrics/vars/monitor.go).
var labelled = map[uint16]bool{
	dns.TypeAAAA: true, dns.TypeA: true, dns.TypeCNAME: true, dns.TypeDNSKEY: true, dns.TypeDS: true, dns.TypeMX: true,
	dns.TypeNSEC3: true, dns.TypeNSEC: true, dns.TypeNS: true, dns.TypePTR: true, dns.TypeRRSIG: true, dns.TypeSOA: true,
	dns.TypeSRV: true, dns.TypeTXT: true, dns.TypeHTTPS: true, dns.TypeSVCB: true,
}

func typeLabel(t uint16) string {
	if labelled[t] {
		return dns.Type(t).String()
	}
	return "other"
}
