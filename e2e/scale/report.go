// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// results are what a run has measured.
type results struct {
	Date            string
	Workload        workload
	ConnectionBytes float64 // resident memory of the cluster DNS for a connection
	Runs            []observation
}

func (p plugins) String() string {
	if p == (plugins{}) {
		return "none"
	}
	var names []string
	for _, f := range []struct {
		on   bool
		name string
	}{{p.Keep, "keep"}, {p.Searchpath, "searchpath"}, {p.Hedge, "hedge"}} {
		if f.on {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

// bound is how far the caches may be from the model.
const bound = 0.2

// judge is an error for each phase in which the caches were asked otherwise than by the model.
func (r *results) judge() error {
	var all []error
	for _, o := range r.Runs {
		for _, p := range o.Phases {
			if ratio := p.Asked / p.Predicted; math.Abs(ratio-1) > bound {
				all = append(all, fmt.Errorf("%s with %s: the caches asked %.2f of what the model says", p.Name, o.plugins, ratio))
			}
		}
	}
	return errors.Join(all...)
}

func (r *results) tables() string {
	return r.inputs() + r.confirmation() + r.clusters()
}

// inputs is the table of what was measured for the larger clusters.
func (r *results) inputs() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s. A connection takes %.1f kB of the cluster DNS's memory.\n\n", r.Date, r.ConnectionBytes/1000)
	fmt.Fprintln(b, "| plugins | caches | queries/s of a node | answered on the node | µs of the cluster DNS for a question "+
		"| connections of a node | lost | further attempts of hedge |")
	fmt.Fprintln(b, "|---|---|---|---|---|---|---|---|")
	for _, o := range r.Runs {
		hits := 1 - o.Phases[0].Asked/o.Phases[0].Seconds/float64(o.Caches)/o.Queries
		fmt.Fprintf(b, "| %s | %d | %.1f | %.1f %% | %.0f | %.1f | %d | %.0f |\n",
			o.plugins, o.Caches, o.Queries, 100*hits, o.CPU, o.Connections, o.Lost, o.Extra)
	}
	return b.String() + "\n"
}

// confirmation compares the caches with the model.
func (r *results) confirmation() string {
	b := &strings.Builder{}
	fmt.Fprint(b, "| plugins | phase | s | asked | model | asked ÷ model |\n|---|---|---|---|---|---|\n")
	for _, o := range r.Runs {
		for _, p := range o.Phases {
			fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %.0f | **%.2f** |\n",
				o.plugins, p.Name, p.Seconds, p.Asked, p.Predicted, p.Asked/p.Predicted)
		}
	}
	return b.String() + "\n"
}
