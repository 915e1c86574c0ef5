// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// The times over which the nodes of a cluster begin anew, in seconds.
const (
	syncTime    = 60.0  // after a ConfigMap has changed: the kubelets look once in 60 s, each at a time of its own
	rolloutTime = 150.0 // of an update with maxSurge 10 %: ten tenths of 15 s
)

// sizes are the numbers of nodes in the table.
var sizes = []int{100, 1000, 5000}

// demand is what a cluster DNS is asked by a number of nodes, in questions a second.
type demand struct {
	Queries float64 // of the pods: what it would be asked without caches
	Steady  float64
	Sync    float64 // at most, after a change of the ConfigMap
	Rollout float64 // at most, during an update of the DaemonSet
	AtOnce  float64 // in the first second if all nodes begin at the same moment
}

// demand computes what the nodes ask. When nodes begin one after the other, at a steady pace within a time t, the share 1/t of the
// nodes begins each second, and each brings its excess once.
func (m model) demand(nodes int) demand {
	n, steady := float64(nodes), m.steady()
	excess := max(0, m.excess())
	return demand{
		Queries: n * m.queries(), Steady: n * steady,
		Sync: n * (steady + excess/syncTime), Rollout: n * (steady + excess/rolloutTime), AtOnce: n * max(steady, m.start(1)),
	}
}

// clusters is the table of larger clusters.
func (r *results) clusters() string {
	b := &strings.Builder{}
	fmt.Fprint(b, "| nodes | plugins | pods ask | steady state | ConfigMap changed | update | all in one second | cores, steady | cores, ConfigMap changed | connections | their memory |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, nodes := range sizes {
		for _, o := range r.Runs {
			d := model{r.Workload, o.plugins}.demand(nodes)
			connections := o.Connections * float64(nodes)
			fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s | %s | %.2f | %.2f | %.0f | %.0f MB |\n", nodes, o.plugins,
				round(d.Queries), round(d.Steady), round(d.Sync), round(d.Rollout), round(d.AtOnce),
				d.Steady*o.CPU/1e6, d.Sync*o.CPU/1e6, connections, connections*r.ConnectionBytes/1e6)
		}
	}
	return b.String()
}

// round prints a number with its thousands separated.
func round(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
