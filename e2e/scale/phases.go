// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// The names of the phases.
const (
	steadyPhase  = "steady state"
	soonPhase    = "reload of all, first 3 s"
	reloadPhase  = "reload of all, 10 s"
	restartPhase = "restart, a tenth at a time"
	dnsPhase     = "restart of the cluster DNS"
)

// The times of the phases.
const (
	warm    = 35 * time.Second // longer than the life of an answer
	watched = 40 * time.Second // of the steady state
	soon    = 3 * time.Second  // after a reload: what the cache has lost counts most at once
	after   = 10 * time.Second // of the other phases, after the last cache or the cluster DNS has started
	outage  = 2 * time.Second  // of the cluster DNS
)

// phase is what the cluster DNS was asked in a phase, and what it would have been asked by the model.
type phase struct {
	Name             string
	Seconds          float64
	Asked, Predicted float64
}

// observation is what happened with one cluster DNS and its caches.
type observation struct {
	plugins
	Caches      int
	Phases      []phase
	Queries     float64 // of a node, a second, in the steady state
	Lost        int64   // queries without an answer, of all phases
	Connections float64 // of a node, in the steady state
	CPU         float64 // of the cluster DNS for a question, in microseconds, in the steady state
	Extra       float64 // attempts of hedge beside the first ones, in all
}

// observe goes through the phases.
func observe(m model, caches int, seed int64) (o observation, err error) {
	h := &harness.Host{}
	defer h.End()
	o = observation{plugins: m.plugins, Caches: caches}
	err = h.Do(func() {
		c := newCluster(h, m, caches)
		stop := make(chan struct{})
		defer close(stop)
		for i, n := range c.nodes {
			n.start(h)
			n.begin(h, m.workload, seed+int64(i), stop)
		}
		wait(warm)
		o.steady(c)
		o.reload(c)
		wait(warm)
		o.restart(c)
		o.dnsRestart(c)
		_, o.Lost = c.sent()
		o.Extra = c.extra()
	})
	if err != nil {
		err = fmt.Errorf("running %d caches with %s: %w", caches, m.plugins, err)
	}
	return o, err
}

// wait lets a phase last.
func wait(d time.Duration) { <-time.After(d) }

func (o *observation) add(c *cluster, name string, begin time.Time, before, predicted float64) {
	p := phase{name, time.Since(begin).Seconds(), c.count() - before, predicted}
	fmt.Printf("%-24s %-28s asked %6.0f, predicted %6.0f\n", o.plugins, name, p.Asked, p.Predicted)
	o.Phases = append(o.Phases, p)
}

func (o *observation) steady(c *cluster) {
	begin, before, cpu := time.Now(), c.count(), c.dns.CPU(c.host)
	sent, _ := c.sent()
	held := 0
	const looks = 6
	for range looks {
		wait(watched / looks)
		held += c.connections()
	}
	seconds := time.Since(begin).Seconds()
	o.add(c, steadyPhase, begin, before, c.steady()*seconds*float64(o.Caches))
	now, _ := c.sent()
	o.Queries = float64(now-sent) / seconds / float64(o.Caches)
	o.Connections = float64(held) / looks / float64(o.Caches)
	o.CPU = float64((c.dns.CPU(c.host) - cpu).Microseconds()) / o.Phases[0].Asked
}

func (o *observation) reload(c *cluster) {
	begin, before := time.Now(), c.count()
	for _, n := range c.nodes {
		n.cache.Signal(c.host, syscall.SIGUSR1)
	}
	wait(soon)
	o.add(c, soonPhase, begin, before, c.start(time.Since(begin).Seconds())*float64(o.Caches))
	wait(after - soon)
	o.add(c, reloadPhase, begin, before, c.start(time.Since(begin).Seconds())*float64(o.Caches))
}

// restart stops a tenth of the caches, starts them, and goes on with the next tenth.
func (o *observation) restart(c *cluster) {
	begin, before := time.Now(), c.count()
	var starts []time.Time
	batch := max(1, len(c.nodes)/10)
	for i := 0; i < len(c.nodes); i += batch {
		for _, n := range c.nodes[i:min(i+batch, len(c.nodes))] {
			n.stop(c.host)
			n.start(c.host)
			starts = append(starts, time.Now())
		}
		wait(time.Second)
	}
	wait(after)
	end, predicted := time.Now(), 0.0
	for _, s := range starts {
		predicted += c.model.steady()*s.Sub(begin).Seconds() + c.start(end.Sub(s).Seconds())
	}
	o.add(c, restartPhase, begin, before, predicted)
}

// dnsRestart kills the cluster DNS, and starts it again after a moment. The caches keep their answers.
func (o *observation) dnsRestart(c *cluster) {
	begin, before := time.Now(), c.count()
	c.asked = before
	c.dns.Signal(c.host, syscall.SIGKILL)
	c.dns.Wait(c.host, 5*time.Second)
	wait(outage)
	c.startDNS()
	back := time.Now()
	wait(after)
	predicted := c.model.outage(back.Sub(begin).Seconds(), time.Since(back).Seconds())
	o.add(c, dnsPhase, begin, before, predicted*float64(o.Caches))
}

// extra is the number of attempts of hedge beside the first ones.
func (c *cluster) extra() (sum float64) {
	if !c.Hedge {
		return 0
	}
	for _, n := range c.nodes {
		page, err := n.Get("http://127.0.0.1:9253/metrics")
		if err != nil {
			c.host.Fatal(err)
		}
		for _, kind := range []string{"hedge", "retry"} {
			v, _ := process.Metric(page, "coredns_hedge_attempts_total", `kind="`+kind+`"`) // no series before the first attempt
			sum += v
		}
	}
	return sum
}

// measureConnections is the resident memory, in octets, that a cluster DNS needs for a TCP connection that has asked once. The
// kernel's memory for the connection is not in it.
func measureConnections() (octets float64, err error) {
	const number = 2000
	h := &harness.Host{}
	defer h.End()
	err = h.Do(func() {
		c := newCluster(h, model{workload: usual}, 0)
		before := c.dns.RSS(h)
		to := client.Port53(netip.MustParseAddr(clusterIP))
		q := new(dns.Msg).SetQuestion(serviceName(0), dns.TypeA)
		for range number {
			conn, err := c.outside.Dial("tcp", to, time.Second)
			if err != nil {
				h.Fatal(err)
			}
			defer conn.Close()
			dc := &dns.Conn{Conn: conn}
			if err := dc.WriteMsg(q); err != nil {
				h.Fatal(err)
			}
			if _, err := dc.ReadMsg(); err != nil {
				h.Fatal(err)
			}
		}
		octets = float64(c.dns.RSS(h)-before) / number
	})
	return octets, err
}
