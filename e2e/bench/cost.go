// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// cost measures what the cache costs on a node where it steers: with each firewall the time from start to steering, and the CPU
// time and the processes of iptables while nobody asks; with nftables also memory and CPU time under load, beside stock CoreDNS
// with the same Corefile. It prints and does not judge.
func cost(args []string) error {
	flags := flag.NewFlagSet("cost", flag.ExitOnError)
	idleTime := flags.Duration("idle", 30*time.Second, "`TIME` to watch the idle cache")
	loadTime := flags.Duration("load", 15*time.Second, "`TIME` to ask")
	rate := flags.Int("rate", 2000, "`QUERIES` a second")
	_ = flags.Parse(args) // exits
	return harness.With(func(h *harness.Host) {
		for _, firewall := range lab.Backends {
			fmt.Printf("\nfirewall %s\n", firewall)
			starts(h, firewall)
			idle(h, firewall, *idleTime)
		}
		fmt.Printf("\n%d queries a second for %s, Zipf over 10,000 names, cache empty at first\n", *rate, *loadTime)
		t := task{Load: "zipf", Rate: *rate, Time: *loadTime}
		ours, stock := underLoad(h, t, true), underLoad(h, t, false)
		fmt.Printf("  nodelocaldns beside stock CoreDNS: RSS %+.1f %%, CPU time a query %+.1f %%\n",
			100*(ours.RSS["end"]/stock.RSS["end"]-1), 100*(ours.ServerCPU/stock.ServerCPU-1))
	})
}

// starts measures the time from start to steering.
func starts(h *harness.Host, firewall lab.Backend) {
	l := lab.New(h, firewall)
	var took []time.Duration
	for range 5 {
		begin := time.Now()
		p := startNode(h, nodeServer(firewall, lab.NewTools(h, firewall), lab.UpstreamIP.String()), l.Node)
		took = append(took, time.Since(begin).Round(time.Millisecond))
		p.Signal(h, syscall.SIGTERM)
		p.Wait(h, 20*time.Second)
	}
	slices.Sort(took)
	fmt.Printf("  start to steering: median %s, longest %s of %d starts\n", took[len(took)/2], took[len(took)-1], len(took))
}

// startNode starts the cache, and waits until it steers.
func startNode(h *harness.Host, s server, node *netns.Namespace) *process.Process {
	return s.startUntil(h, node, "steering", func() error {
		page, err := node.Get(metricsURL)
		if err != nil {
			return err
		}
		on, err := process.Metric(page, "coredns_nodelocal_steering")
		if err == nil && on == 0 {
			err = errors.New("steering is off")
		}
		return err
	})
}

// idle measures what it costs to run when nobody asks: lease, self-query, watch and resync.
func idle(h *harness.Host, firewall lab.Backend, d time.Duration) {
	l, tools := lab.New(h, firewall), lab.NewTools(h, firewall)
	p := startNode(h, nodeServer(firewall, tools, lab.UpstreamIP.String()), l.Node)
	settle()
	calls, cpu, begin := len(tools.Calls(h)), p.CPU(h), time.Now()
	<-time.After(d) // the measurement
	used, wall := p.CPU(h)-cpu, time.Since(begin)
	fmt.Printf("  idle for %s: %.2f %% of a core, %d iptables processes, RSS %.1f MB\n",
		wall.Round(time.Millisecond), 100*used.Seconds()/wall.Seconds(), len(tools.Calls(h))-calls, mb(p.RSS(h)))
}

// settle lets the start's own work pass: TCP is steered in full some seconds after UDP.
func settle() { <-time.After(5 * time.Second) }

// underLoad asks one of the servers at the link-local address, where no rule of kube-proxy's is in the way.
func underLoad(h *harness.Host, t task, ours bool) sample {
	c := &contestant{Host: h, network: newNetwork(h, ours)}
	c.server = nodeServer(lab.NFTables, lab.NewTools(h, lab.NFTables), upstreamIP)
	if ours {
		c.process = startNode(h, c.server, c.node)
	} else {
		c.server = withoutNode(h, c.node, c.server)
		c.process = c.server.start(h, c.node, c.pod)
	}
	settle()
	s := c.generate(t)
	s.RSS = map[string]float64{"end": mb(c.process.RSS(h))}
	fmt.Printf("  %-14s RSS %.1f MB, %d queries, %.1f µs of CPU time each, %d lost\n", c.server.title, s.RSS["end"], s.Sent, s.ServerCPU, s.Lost)
	return s
}
