// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// A hole is what happens to the network of some pods of the cluster DNS.
type hole struct {
	name    string
	pods    int     // of the cluster DNS
	cut     int     // of them
	loss    float64 // of the packets to and from those
	p999    time.Duration
	slowest time.Duration
	extra   float64 // attempts for each question, less one
}

var holes = []hole{
	{"one of two", 2, 1, 1, 150 * time.Millisecond, 250 * time.Millisecond, 0.15},
	{"one of three", 3, 1, 1, 150 * time.Millisecond, 250 * time.Millisecond, 0.15},
	{"5 % lost", 2, 2, 0.05, 150 * time.Millisecond, 250 * time.Millisecond, 0.15},
	{"20 % lost", 2, 2, 0.2, 600 * time.Millisecond, 1200 * time.Millisecond, 0.8}, // more than a third of the questions lose a packet
}

// holeTime is how long the hole is watched from the moment it opens.
const holeTime = 60 * time.Second

// TestBlackHole takes the network of a pod of the cluster DNS away, as when its node loses its power: packets vanish, and
// kube-proxy goes on giving it new connections. All that is asked is new to the cache. No look-up fails, and none takes long.
func TestBlackHole(t *testing.T) {
	for _, h := range holes {
		for _, rate := range []int{1, 20, 200, 2000} {
			t.Run(fmt.Sprintf("%s/%d a second", h.name, rate), func(t *testing.T) {
				if rate < 2000 {
					t.Parallel()
				}
				h.run(t, rate)
			})
		}
	}
}

func (h hole) run(t *testing.T, rate int) {
	l := lab.New(t, lab.IPTablesNFT)
	pods := []netip.Addr{lab.DNSPodIP}
	cut := []func(){func() { l.LoseDNS(t, h.loss) }}
	for range h.pods - 1 {
		pod := l.NewReplica(t)
		pod.Serve(t, l)
		pods = append(pods, pod.IP)
		cut = append(cut, func() { pod.Lose(t, l, h.loss) })
	}
	l.Endpoints(t, pods...)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	loads := holeLoads(t, l, rate)
	calm := c.calm(t)
	first, all := c.attempts(t)
	for _, f := range cut[:h.cut] {
		f()
	}
	<-time.After(holeTime)
	reports := stop(t, loads)
	noFailure(t, reports)
	firstAfter, allAfter := c.attempts(t)
	extra := (allAfter-all)/(firstAfter-first) - 1
	var sum client.Report // of all clients together
	for _, r := range reports {
		sum.Sent, sum.Took = sum.Sent+r.Sent, append(sum.Took, r.Took...)
		sum.Slowest, sum.Stall = max(sum.Slowest, r.Slowest), max(sum.Stall, r.Stall)
	}
	p999 := sum.Quantile(0.999)
	t.Logf("%d queries; p50 %s, p99 %s, p99.9 %s, slowest %s; %.3f attempts more than questions, %.3f before; a client stood still for %s", sum.Sent,
		sum.Quantile(0.5).Round(time.Microsecond), sum.Quantile(0.99).Round(time.Microsecond), p999.Round(time.Microsecond),
		sum.Slowest.Round(time.Microsecond), extra, calm, sum.Stall.Round(time.Millisecond))
	if few := sum.Sent < 1000 && h.loss < 1; !few && p999 > h.p999+sum.Stall { // of few questions it is the slowest, and chance
		t.Errorf("p99.9 is %s, want %s at most", p999, h.p999)
	}
	if sum.Slowest > h.slowest+sum.Stall {
		t.Errorf("the slowest took %s, want %s at most", sum.Slowest, h.slowest)
	}
	questions := firstAfter - first
	if most := h.extra*questions + 3*math.Sqrt(h.extra*questions); extra*questions > most { // what chance adds to few of them
		t.Errorf("%.3f attempts more than questions, want %.2f at most", extra, h.extra)
	}
}

// holeLoads asks for new names at the rate, a quarter of them over TCP.
func holeLoads(t *testing.T, l *lab.Lab, rate int) []*client.Load {
	t.Helper()
	probe := func(tag string, tcp bool, socket client.Socket, interval time.Duration) client.Probe {
		return client.Probe{From: l.Pod, Target: lab.LinkLocal, TCP: tcp, Socket: socket, Interval: interval, Timeout: 5 * time.Second, Name: client.Unique(tag)}
	}
	var probes []client.Probe
	clients := max(1, rate/100) // of at most 100 a second
	each := time.Duration(clients) * time.Second / time.Duration(rate)
	udp, tcp := client.Fresh, client.Fresh
	if rate > 200 { // a pod has no more ports than it would use in a minute
		udp, tcp = client.Unconnected, client.Long
	}
	for i := range clients {
		probes = append(probes, probe(fmt.Sprintf("u%d", i), false, udp, each*4/3), probe(fmt.Sprintf("t%d", i), true, tcp, each*4))
	}
	return client.StartAll(t, probes...)
}

// attempts returns how often questions were sent to the cluster DNS: the first attempts, and all.
func (c *cache) attempts(t testing.TB) (first, all float64) {
	t.Helper()
	page := c.fetch(t)
	all, _ = process.Metric(page, "coredns_hedge_attempts_total") // which is not there before the first question
	first, _ = process.Metric(page, "coredns_hedge_attempts_total", `kind="first"`)
	return first, all
}

// calm waits until there were hardly more attempts than questions for some seconds, in which the cache also makes connections to
// all pods. It returns how many more there were for each question. A busy machine that is slow to answer causes some.
func (c *cache) calm(t testing.TB) (extra float64) {
	t.Helper()
	harness.Until(t, time.Minute, "time with few attempts more than questions", func() error {
		first, all := c.attempts(t)
		<-time.After(5 * time.Second) // the measurement
		firstAfter, allAfter := c.attempts(t)
		questions := firstAfter - first
		more := allAfter - all - questions
		if extra = more / questions; more > max(1, 0.05*questions) || questions == 0 {
			return fmt.Errorf("%g questions and %g attempts more", questions, more)
		}
		return nil
	})
	return extra
}
