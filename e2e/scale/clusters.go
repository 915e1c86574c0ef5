// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// syncTime is the time in which the kubelets see that a ConfigMap has changed, in seconds. Each looks at a time of its own.
const syncTime = 60.0

// surge is the share of the nodes whose caches begin anew at the same time in an update: the manifests' maxSurge.
const surge = 0.1

// sizes are the numbers of nodes in the table.
var sizes = []int{100, 1000, 5000}

// demand is what a cluster DNS is asked by a number of nodes, in questions a second.
type demand struct {
	Queries float64 // of the pods: what it would be asked without caches
	Steady  float64
	Sync    float64 // at most, after a change of the ConfigMap
	Rollout float64 // likewise, in an update of the DaemonSet
	AtOnce  float64 // in the first second if all nodes begin at once
}

// demand computes what the nodes ask. When the nodes begin at a steady pace within syncTime, its reciprocal is the share of the nodes that
// begins each second, and each brings its excess once.
func (m model) demand(nodes int) demand {
	n, steady, first := float64(nodes), m.steady(), max(m.steady(), m.start(1))
	return demand{
		Queries: n * m.queries(), Steady: n * steady, Sync: n * (steady + max(0, m.excess())/syncTime),
		Rollout: n * (steady + surge*(first-steady)), AtOnce: n * first,
	}
}

// clusters is the table of larger clusters.
func (r *results) clusters() string {
	b := &strings.Builder{}
	fmt.Fprintln(b, "| nodes | plugins | pods ask | steady state | ConfigMap changed | update | all at once "+
		"| cores, steady state | cores, all at once | connections | their memory |")
	fmt.Fprintln(b, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, nodes := range sizes {
		for _, o := range r.Runs {
			d := model{r.Workload, o.plugins}.demand(nodes)
			connections := o.Connections * float64(nodes)
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %.2f | %.2f | %s | %.0f MB |\n", round(float64(nodes)), o.plugins,
				round(d.Queries), round(d.Steady), round(d.Sync), round(d.Rollout), round(d.AtOnce),
				d.Steady*o.CPU/1e6, d.AtOnce*o.CPU/1e6, round(connections), connections*r.ConnectionBytes/1e6)
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
