// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
)

// workload is what the pods of a node ask. It is the same on each node. A look-up of a Service is a question for A and one for
// AAAA. A look-up of a name outside begins with three names of the search list, which the cluster DNS denies, each for A and AAAA. The
// further names of the look-up do not belong to the cluster, and are left out: the node's nameservers answer them.
type workload struct {
	Lookups  float64 // of a node, a second
	Outside  float64 // share of the look-ups that are for names outside, from 0 to 1
	Services int     // number of Services that are looked up
	Names    int     // number of names outside that are looked up
	Exponent float64 // of Zipf's law, by which Services and names outside are chosen
}

// usual is the workload of the confirmation and of the table.
var usual = workload{Lookups: 16, Outside: 0.5, Services: 100, Names: 100, Exponent: 1}

// searched are the search domains of a pod that are names of the cluster.
var searched = []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."}

// topLevel are the top-level domains of the names outside.
var topLevel = []string{"com", "org"}

func serviceName(i int) string { return fmt.Sprintf("service%d.%s", i, searched[0]) }

func outsideName(i int) string {
	return fmt.Sprintf("api.site%d.%s.", i, topLevel[i%len(topLevel)])
}

// queries is the rate of a node's queries for names of the cluster, a second.
func (w workload) queries() float64 {
	return w.Lookups * ((1-w.Outside)*2 + w.Outside*2*float64(len(searched)))
}

// shares are the popularities of n names by Zipf's law. Their sum is 1.
func (w workload) shares(n int) []float64 {
	all, sum := make([]float64, n), 0.0
	for i := range all {
		all[i] = math.Pow(float64(i+1), -w.Exponent)
		sum += all[i]
	}
	for i := range all {
		all[i] /= sum
	}
	return all
}

// class says how long the cache keeps the answer to a question.
type class int

const (
	positive class = iota // the A record of a Service: 30 s
	nodata                // a Service has no AAAA record: 5 s
	denied                // a name of the search list: 5 s, and searchpath denies it on the node
)

// question is one that the pods of a node ask with the rate, a second.
type question struct {
	class class
	rate  float64
}

// questions lists all questions of a node.
func (w workload) questions() (all []question) {
	for _, share := range w.shares(w.Services) {
		rate := w.Lookups * (1 - w.Outside) * share
		all = append(all, question{positive, rate}, question{nodata, rate})
	}
	if w.Outside == 0 {
		return all
	}
	for _, share := range w.shares(w.Names) {
		for range 2 * len(searched) { // A and AAAA
			all = append(all, question{denied, w.Lookups * w.Outside * share})
		}
	}
	return all
}
