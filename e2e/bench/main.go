// SPDX-License-Identifier: Apache-2.0

// Command bench compares nodelocaldns with stock CoreDNS and other DNS caches: what a query costs of CPU time, how long it takes,
// and how much memory the names take. Client, server and upstream server are in network namespaces that end with it. It
// prints how far it is, and writes results.json, results.md and hits.svg; it does not judge. hack/bench.sh runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// modes are what this program also is, each in a process of its own.
var modes = map[string]func(args []string) error{"generate": generate, "upstream": upstream, "floor": floor, "awake": awake}

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

// options are the command line's.
type options struct {
	rounds  int
	time    time.Duration
	servers []server
	loads   []string // all if empty
	out     string
}

func parseOptions() (o options, err error) {
	flag.IntVar(&o.rounds, "rounds", 5, "`NUMBER` of times that everything is measured")
	seconds := flag.Float64("seconds", 0.8, "`SECONDS` that a measurement takes; those of latency take four times as long")
	names := flag.String("servers", "", "`NAME,...` of the servers, out of "+strings.Join(serverNames(), ", "))
	loads := flag.String("loads", "", "`NAME,...` of the loads, out of "+strings.Join(loadNames(), ", "))
	flag.StringVar(&o.out, "out", "bin/bench", "`DIRECTORY` for the results")
	flag.Parse()
	o.time = time.Duration(*seconds * float64(time.Second))
	o.servers = servers
	if *names != "" {
		o.servers = nil
	}
	for _, name := range fields(*names) {
		i := slices.Index(serverNames(), name)
		if i < 0 {
			return o, fmt.Errorf("no server %q", name)
		}
		o.servers = append(o.servers, servers[i])
	}
	for _, name := range fields(*loads) {
		if !slices.Contains(loadNames(), name) {
			return o, fmt.Errorf("no load %q", name)
		}
		o.loads = append(o.loads, name)
	}
	return o, nil
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func serverNames() (names []string) {
	for _, s := range servers {
		names = append(names, s.name)
	}
	return names
}

func (o options) has(load string) bool { return len(o.loads) == 0 || slices.Contains(o.loads, load) }

func compare() error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	remove, err := harness.Setup()
	if err != nil {
		return err
	}
	defer remove()
	r := &results{Rounds: o.rounds, Seconds: o.time.Seconds()}
	before := readTicks()
	h := &harness.Host{}
	err = h.Do(func() {
		r.Machine = describeMachine()
		r.Servers = describeServers(h, o.servers)
		(&comparison{options: o, results: r}).run()
	})
	h.End()
	r.Machine.Stolen, r.Machine.Others = interference(before, readTicks())
	if err != nil {
		return err
	}
	return r.write(o.out)
}
