// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// set is a file of queries, which dnsperf repeats. But for that of the guides, it is a file of kubernetes/perf-tests, dns/queries.
type set struct {
	name    string
	queries []string // name and type
}

// services is the number of Services of perf-tests, which are in one namespace.
const services = 20

// The names of the sets that a table treats on their own.
const (
	allQueries = "all-queries"
	guides     = "12 Services"
)

// sets are in the order of the report. Guides to node caches tell of a measurement with twelve names and dnsperf's own rate; which
// names these are is not known.
var sets = []set{
	{allQueries, slices.Concat(
		both("svc1", "svc1.cluster.local", "svc1.svc.cluster.local", "svc1.default.svc.cluster.local"),
		outside,
		[]string{podIP},
		both("svc2", "svc2.cluster.local", "svc2.svc.cluster.local", "svc2.default.svc.cluster.local"),
	)},
	{"outside", outside},
	{"nx-domain", []string{"no-such-thing.default.svc.cluster.local A"}},
	{"pod-ip", []string{podIP}},
	{"service", []string{"kube-dns.kube-system.svc.cluster.local A"}},
	{"multiple-svc", numbered(services)},
	{guides, numbered(12)},
}

var (
	outside = both("google.com.svc.cluster.local", "google.com.default.svc.cluster.local", "google.com.cluster.local", "google.com")
	podIP   = "1-2-3-4.default.pod.cluster.local A"
)

// both asks for A and AAAA of each name.
func both(names ...string) (queries []string) {
	for _, name := range names {
		queries = append(queries, name+" A", name+" AAAA")
	}
	return queries
}

func numbered(n int) (queries []string) {
	for i := range n {
		queries = append(queries, serviceName(i)+" A")
	}
	return queries
}

func serviceName(i int) string { return fmt.Sprintf("svc%d.dnstest.svc.cluster.local", i+1) }

// exists says whether the query has an answer with data. The names of the other queries do not exist.
func exists(query string) bool {
	name, _, _ := strings.Cut(query, " ")
	return name == "google.com" || query == podIP || name == "kube-dns.kube-system.svc.cluster.local" || strings.Contains(name, ".dnstest.")
}

// measurement is a set at a rate.
type measurement struct {
	set
	rate int // queries a second; 0: dnsperf's own
	long bool
}

func (m measurement) String() string {
	if m.rate == 0 {
		return m.name + ", as many as possible"
	}
	return fmt.Sprintf("%s, %d/s", m.name, m.rate)
}

// The parameter max_qps of perf-tests: that of the README for all-queries, that of params/nodelocaldns/small.yaml for the other sets.
var (
	allRates = []int{500, 1000, 2000, 3000, 0}
	rates    = []int{500, 2000, 0}
)

var measurements = allMeasurements()

func allMeasurements() (all []measurement) {
	for _, s := range sets {
		of := rates
		switch s.name {
		case allQueries:
			of = allRates
		case guides:
			of = []int{0}
		}
		for _, rate := range of {
			all = append(all, measurement{s, rate, s.name == guides})
		}
	}
	return all
}
