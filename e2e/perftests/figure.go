// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/dnsperf"
)

// figure is what came of a measurement with an arrangement. Latencies are in microseconds, CPU times are shares of a core.
type figure struct {
	Set         string  `json:"set"`
	MaxRate     int     `json:"max_qps,omitempty"`
	Arrangement string  `json:"arrangement"`
	Seconds     int     `json:"seconds"`
	Sent        int     `json:"sent"`
	Answered    int     `json:"answered"`
	Lost        int     `json:"lost"`
	Failed      int     `json:"failed"`   // answered neither NOERROR nor NXDOMAIN
	Bypassed    int     `json:"bypassed"` // at least so many were answered by another server than that of the arrangement
	Rate        float64 `json:"queries_per_second"`
	Mean        float64 `json:"mean_us"`
	P50         float64 `json:"p50_us,omitempty"` // not of a measurement with as many queries as possible
	P99         float64 `json:"p99_us,omitempty"`
	Asked       float64 `json:"cluster_dns_asked"`
	ClusterDNS  float64 `json:"cluster_dns_cpu"`
	Cache       float64 `json:"cache_cpu,omitempty"`
}

func (f figure) String() string {
	return fmt.Sprintf("%-12s %7.0f/s, mean %5.0f p50 %5.0f p99 %6.0f µs, %d lost, %d failed, %d bypassed, cluster DNS asked %.0f and busy %.1f %%",
		f.Arrangement, f.Rate, f.Mean, f.P50, f.P99, f.Lost, f.Failed, f.Bypassed, f.Asked, 100*f.ClusterDNS)
}

// measure has dnsperf ask the ClusterIP of kube-dns. At a given rate dnsperf prints the latency of each answer. With as many queries as
// possible that would cost the client too much.
func (a *arrangement) measure(m measurement, seconds int) figure {
	if m.long {
		seconds *= 4
	}
	options := []string{"-l", strconv.Itoa(seconds)}
	if m.rate > 0 {
		options = append(options, "-Q", strconv.Itoa(m.rate), "-v")
	}
	served, asked := a.requests(a.cache != nil), a.requests(false)
	dnsCPU, cacheCPU := a.clusterDNS.CPU(a.host), a.cacheCPU()
	begin := time.Now()
	r := dnsperf.Run(a.host, a.lab.Pod, lab.ClusterIP, lines(m.queries), options...)
	took := time.Since(begin) // more than asked for, if dnsperf has waited for lost answers
	if m.rate > 0 && len(r.Latencies) != r.Answered {
		a.host.Fatalf("dnsperf told %d latencies of %d answers", len(r.Latencies), r.Answered)
	}
	share := func(d time.Duration) float64 { return d.Seconds() / took.Seconds() }
	f := figure{
		Set: m.name, MaxRate: m.rate, Arrangement: a.name, Seconds: seconds,
		Sent: r.Sent, Answered: r.Answered, Lost: r.Lost, Failed: r.Answered - r.Codes["NOERROR"] - r.Codes["NXDOMAIN"],
		Rate: r.Rate, Mean: micros(r.Mean),
		Asked: a.requests(false) - asked, ClusterDNS: share(a.clusterDNS.CPU(a.host) - dnsCPU), Cache: share(a.cacheCPU() - cacheCPU),
	}
	f.Bypassed = max(0, r.Answered-int(a.requests(a.cache != nil)-served))
	f.P50, f.P99 = quantiles(r.Latencies)
	return f
}

func lines(queries []string) (text string) {
	for _, q := range queries {
		text += q + "\n"
	}
	return text
}

// quantiles sorts the latencies, and returns the median and the latency that 99 % of them do not exceed, in microseconds. They are 0
// if there are no latencies.
func quantiles(latencies []time.Duration) (p50, p99 float64) {
	n := len(latencies)
	if n == 0 {
		return 0, 0
	}
	slices.Sort(latencies)
	return micros(latencies[n/2]), micros(latencies[n*99/100])
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (a *arrangement) cacheCPU() time.Duration {
	if a.cache == nil {
		return 0
	}
	return a.cache.CPU(a.host)
}
