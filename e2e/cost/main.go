// SPDX-License-Identifier: Apache-2.0

// Command cost measures, on a node made of network namespaces, what the cache costs: the time from start to steering, its CPU
// time and the processes it runs while nobody asks, and memory and CPU time under load beside a stock CoreDNS with the same
// Corefile. It prints and does not judge.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

var (
	idleTime = flag.Duration("idle", 30*time.Second, "how long to watch the idle cache")
	loadTime = flag.Duration("load", 15*time.Second, "how long to ask")
	rate     = flag.Int("rate", 2000, "queries a second")
	names    = flag.Int("names", 5000, "different names")
)

func main() {
	flag.Parse()
	h := &harness.Host{}
	err := h.Do(func() {
		remove, err := harness.Setup()
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(remove)
		measure(h)
	})
	h.End()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(h *harness.Host) {
	for _, firewall := range lab.Backends {
		fmt.Printf("\nfirewall %s\n", firewall)
		starts(h, firewall)
		idle(h, firewall)
	}
	fmt.Printf("\n%d queries a second for %s, %d names, cache empty at first\n", *rate, *loadTime, *names)
	ours := underLoad(h, true)
	stock := underLoad(h, false)
	fmt.Printf("  nodelocaldns beside stock CoreDNS: RSS %+.1f %%, CPU time a query %+.1f %%\n",
		percent(float64(ours.rss), float64(stock.rss)), percent(ours.perQuery(), stock.perQuery()))
}

// starts measures the time from start to steering.
func starts(h *harness.Host, firewall lab.Backend) {
	l := lab.New(h, firewall)
	var took []time.Duration
	for range 5 {
		c := start(h, l, firewall)
		took = append(took, c.steering)
		c.Signal(h, 15)
		c.Wait(h, 20*time.Second)
	}
	slices.Sort(took)
	fmt.Printf("  start to steering: median %s, longest %s of %d starts\n", round(took[len(took)/2]), round(took[len(took)-1]), len(took))
}

// idle measures what it costs to run when nobody asks: lease, self-query, watch and resync.
func idle(h *harness.Host, firewall lab.Backend) {
	c := start(h, lab.New(h, firewall), firewall)
	settle()
	calls, cpu, begin := len(c.tools.Calls(h)), c.CPU(h), time.Now()
	<-time.After(*idleTime) // the measurement
	used, wall := c.CPU(h)-cpu, time.Since(begin)
	fmt.Printf("  idle for %s: %.2f %% of a core, %d iptables processes, RSS %.1f MB\n",
		round(wall), 100*used.Seconds()/wall.Seconds(), len(c.tools.Calls(h))-calls, mb(c.RSS(h)))
}

// settle lets the start's own work pass: TCP is steered in full some seconds after the rest.
func settle() { <-time.After(5 * time.Second) }

// usage is what a server took under load.
type usage struct {
	rss     int64
	cpu     time.Duration
	queries int
}

func (u usage) perQuery() float64 { return u.cpu.Seconds() / float64(u.queries) }

// underLoad asks one of the servers at the link-local address, where no rule of kube-proxy's is in the way.
func underLoad(h *harness.Host, ours bool) usage {
	l := lab.New(h, lab.NFTables)
	var p *process.Process
	name := "nodelocaldns "
	if ours {
		p = start(h, l, lab.NFTables).Process
		settle()
	} else {
		name, p = "stock CoreDNS", startStock(h, l)
	}
	before := p.CPU(h)
	sent := 0
	for _, r := range client.StopAll(ask(h, l)) {
		if len(r.Failures) > 0 {
			fmt.Printf("  %s\n", r)
		}
		sent += r.Sent
	}
	u := usage{p.RSS(h), p.CPU(h) - before, sent}
	fmt.Printf("  %s: RSS %.1f MB, %d queries, %.1f us of CPU time each\n", name, mb(u.rss), u.queries, 1e6*u.perQuery())
	return u
}

// ask puts the load on for its time, from a few sockets.
func ask(h *harness.Host, l *lab.Lab) []*client.Load {
	const sockets = 4
	var loads []*client.Load
	for s := range sockets {
		loads = append(loads, client.Probe{
			From: l.Pod, Target: lab.LinkLocal, Socket: client.Long, Interval: sockets * time.Second / time.Duration(*rate),
			Name: func(i int) string { return fmt.Sprintf("u%d.wild.cluster.local.", (sockets*i+s)%*names) },
		}.Start(h))
	}
	<-time.After(*loadTime)
	return loads
}

func mb(bytes int64) float64              { return float64(bytes) / (1 << 20) }
func percent(a, b float64) float64        { return 100 * (a - b) / b }
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
