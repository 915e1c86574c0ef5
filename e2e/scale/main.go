// SPDX-License-Identifier: Apache-2.0

// Command scale computes what the caches of many nodes ask the cluster DNS, by a model, and compares the model with caches that run.
//
// The caches run in network namespaces of their own before one cluster DNS, with and without the plugins keep, searchpath and hedge.
// The command counts what the cluster DNS is asked in four phases: the steady state, a reload of all caches, a restart of all caches,
// a tenth at a time, and a restart of the cluster DNS. It computes larger clusters from the model, and from what a question and a
// connection cost the cluster DNS. It prints its progress, and writes results.json and results.md. It fails if the model is off by
// more than a fifth. make scale runs it.
//
// scale -results FILE computes the tables again from a results.json.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// run measures, or reads what was measured, and writes the tables.
func run() error {
	nodes := flag.Int("caches", 20, "`NUMBER` of caches before one cluster DNS")
	out := flag.String("out", "bin/scale", "`DIRECTORY` for the results")
	file := flag.String("results", "", "`FILE` with results, in the place of a measurement")
	flag.Parse()
	if *file != "" {
		r := &results{}
		if err := output.Read(*file, r); err != nil {
			return err
		}
		fmt.Print(r.tables())
		return r.judge()
	}
	r, err := measure(*nodes)
	if err != nil {
		return err
	}
	fmt.Print(r.tables())
	return errors.Join(r.write(*out), r.judge())
}

// rounds are the sets of plugins. Those of a round are measured at the same time. More at a time would leave other programs too few
// of the kernel's 128 watches of files, of which each cache takes one.
var rounds = [][]plugins{{{}, {Keep: true, Searchpath: true, Hedge: true}}, {{Keep: true}, {Searchpath: true}}}

// measure goes through the rounds.
func measure(nodes int) (*results, error) {
	remove, err := harness.Setup()
	if err != nil {
		return nil, err
	}
	defer remove()
	r := &results{Date: time.Now().UTC().Format(time.DateOnly), Workload: usual}
	if r.ConnectionBytes, err = measureConnections(); err != nil {
		return nil, err
	}
	for _, round := range rounds {
		runs, failures := make([]observation, len(round)), make([]error, len(round))
		var all sync.WaitGroup
		for i, p := range round {
			all.Go(func() { runs[i], failures[i] = observe(model{usual, p}, nodes, int64(1000*i)) })
		}
		all.Wait()
		if err := errors.Join(failures...); err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, runs...)
	}
	return r, nil
}

func (r *results) write(dir string) error {
	return output.Write(dir, r, map[string]string{"results.md": r.tables()})
}
