// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// comparison is a run of all that was asked for.
type comparison struct {
	options
	results *results
}

// contestant is a server that runs, in a network of its own. All wait at the same time, so that each measurement can go
// through all of them within seconds: the speed of a machine that is shared changes within minutes.
type contestant struct {
	*harness.Host
	*network
	server  server
	process *process.Process
}

func (c *comparison) run() {
	begin := time.Now()
	for round := range c.rounds {
		fmt.Printf("round %d of %d, after %s\n", round+1, c.rounds, time.Since(begin).Round(time.Second))
		c.round(round)
	}
	if c.has(memory) {
		c.memory()
	}
	fmt.Printf("done after %s\n", time.Since(begin).Round(time.Second))
}

// round starts all servers and goes through the measurements, each time beginning with another server.
func (c *comparison) round(round int) {
	var all []*contestant
	defer func() {
		for _, one := range all {
			one.End()
		}
	}()
	for _, s := range c.servers {
		one := &contestant{Host: &harness.Host{}, server: s}
		all = append(all, one)
		c.try(one, round, "start", one.start)
	}
	for k, m := range c.work() {
		for i := range all {
			one := all[(i+k+round)%len(all)]
			if one.Failed() || !m.applies(one.server) {
				continue
			}
			c.try(one, round, m.name, func() { c.keep(one, round, m.name, m.run(one, c.time)) })
		}
	}
}

// work is what was asked for of the measurements.
func (c *comparison) work() (list []measurement) {
	for _, m := range measurements {
		if c.has(m.load) {
			list = append(list, m)
		}
	}
	return list
}

// memory is measured once, as it hardly changes, with one process at a time.
func (c *comparison) memory() {
	for _, s := range c.servers {
		if s.hitsOnly {
			continue
		}
		one := &contestant{Host: &harness.Host{}, server: s}
		c.try(one, 0, memory, func() {
			one.start()
			c.keep(one, 0, memory, one.memory())
		})
		one.End()
	}
}

func (c *comparison) keep(one *contestant, round int, name string, s sample) {
	fmt.Printf("  %-16s %-12s %s\n", name, one.server.name, s)
	c.results.add(one.server.name, name, round, s)
}

// try keeps what goes wrong with one server from the others. It takes no further part in the round.
func (c *comparison) try(one *contestant, round int, what string, f func()) {
	if err := one.Do(f); err != nil {
		text := fmt.Sprintf("%s, round %d, %s: %v", one.server.name, round+1, what, err)
		fmt.Fprintln(os.Stderr, text)
		c.results.Failures = append(c.results.Failures, text)
	}
}

func (c *contestant) start() {
	c.network = newNetwork(c.Host)
	startUpstream(c.Host, c.network)
	c.process = c.server.start(c.Host, c.network)
}
