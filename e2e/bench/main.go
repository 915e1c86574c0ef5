// SPDX-License-Identifier: Apache-2.0

// Command bench compares nodelocaldns with stock CoreDNS and other DNS caches: what a query costs of CPU time, how long it takes,
// and how much memory the names take. Client, server and upstream server are in network namespaces that end with bench. It
// prints its progress, writes results.json, results.md and hits.svg, and does not judge. hack/bench.sh runs it.
//
// bench cost measures what the cache costs on a node, where it steers. make cost runs it. bench traffic measures what hits in the
// kernel take from the other traffic of a pod: hack/bench.sh traffic.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// modes are what this program does beside the comparison. All but cost and traffic are processes of a measurement.
var modes = map[string]func(args []string) error{
	"cost": cost, "generate": generate, "upstream": upstream, "floor": floor, "mirror": reflect, "awake": awake, "traffic": traffic,
}

func main() {
	err := error(nil)
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		err = modes[os.Args[1]](os.Args[2:])
	} else {
		err = compare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// comparison is a run of all that the command line asks for.
type comparison struct {
	results
	servers []server
	loads   []string // all if empty
}

// parse reads the command line.
func (c *comparison) parse() (out string, err error) {
	flag.IntVar(&c.Rounds, "rounds", 5, "`NUMBER` of times that everything is measured")
	flag.Float64Var(&c.Seconds, "seconds", 0.8, "`SECONDS` that a measurement takes; those of latency take four times as long")
	names := flag.String("servers", "", "`NAME,...` of the servers, out of "+strings.Join(serverNames(), ", "))
	loads := flag.String("loads", "", "`NAME,...` of the loads, out of "+strings.Join(loadNames(), ", "))
	flag.StringVar(&out, "out", "bin/bench", "`DIRECTORY` for the results")
	flag.Parse()
	if *names == "" {
		c.servers = servers
	}
	for _, name := range fields(*names) {
		i := slices.Index(serverNames(), name)
		if i < 0 {
			return "", fmt.Errorf("no server %q", name)
		}
		c.servers = append(c.servers, servers[i])
	}
	c.loads = fields(*loads)
	for _, name := range c.loads {
		if !slices.Contains(loadNames(), name) {
			return "", fmt.Errorf("no load %q", name)
		}
	}
	return out, nil
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func compare() error {
	c := &comparison{}
	out, err := c.parse()
	if err != nil {
		return err
	}
	before := usage.ReadTicks()
	err = harness.With(func(h *harness.Host) {
		c.Machine = usage.DescribeMachine()
		c.Servers = describeServers(h, c.servers)
		c.run()
	})
	c.Machine.Stolen, c.Machine.Others = usage.Interference(before, usage.ReadTicks())
	if err != nil {
		return err
	}
	return c.write(out)
}

func (c *comparison) has(load string) bool {
	return len(c.loads) == 0 || slices.Contains(c.loads, load)
}

func (c *comparison) run() {
	begin := time.Now()
	for round := range c.Rounds {
		fmt.Printf("round %d of %d, after %s\n", round+1, c.Rounds, time.Since(begin).Round(time.Second))
		c.round(round)
	}
	if c.has(memory) {
		c.memory()
	}
	fmt.Printf("done after %s\n", time.Since(begin).Round(time.Second))
}

// round starts all servers and goes through the measurements, each time beginning with another server. All servers wait at
// the same time, so that each measurement can go through all of them within seconds: the speed of a machine that is shared
// changes within minutes.
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
	for k, m := range measurements {
		for i := range all {
			one := all[(i+k+round)%len(all)]
			if one.Failed() || !c.has(m.load) || !m.applies(one.server) {
				continue
			}
			d := time.Duration(c.Seconds * float64(time.Second))
			c.try(one, round, m.name, func() { c.keep(one, round, m.name, m.run(one, d)) })
		}
	}
}

// memory is measured once, as it hardly changes, with one process at a time.
func (c *comparison) memory() {
	for _, s := range c.servers {
		if len(s.loads) > 0 {
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
	c.add(one.server.name, name, round, s)
}

// try keeps what goes wrong with one server from the others. The server takes no further part in the round.
func (c *comparison) try(one *contestant, round int, what string, f func()) {
	if err := one.Do(f); err != nil {
		text := fmt.Sprintf("%s, round %d, %s: %v", one.server.name, round+1, what, err)
		fmt.Fprintln(os.Stderr, text)
		c.Failures = append(c.Failures, text)
	}
}
