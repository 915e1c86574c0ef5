// SPDX-License-Identifier: Apache-2.0

// Package dnsperf runs the program of that name, and reads what it prints.
package dnsperf

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Result is what dnsperf says of a run.
type Result struct {
	Sent, Answered, Lost int
	Codes                map[string]int  // answers by response code, such as NXDOMAIN
	Rate                 float64         // answers a second
	Mean                 time.Duration   // of the latencies; dnsperf counts in microseconds
	Latencies            []time.Duration // of each answer in the order of arrival, with the option -v
}

// Run asks the server from the namespace with one thread. Queries has a line for each query: a name without regard to search lists, and
// a type. The options are dnsperf's own. The test fails if dnsperf does.
func Run(t testing.TB, from *netns.Namespace, server netip.Addr, queries string, options ...string) Result {
	t.Helper()
	args := append([]string{"-d", harness.WriteFile(t, "queries", queries), "-s", server.String(), "-T", "1"}, options...)
	out, err := from.Output("", harness.Which(t, "dnsperf"), args...)
	if err != nil {
		t.Fatalf("running dnsperf %s: %v: %s", strings.Join(options, " "), err, out)
	}
	r, err := parse(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// statistics matches what dnsperf prints at its end.
var statistics = regexp.MustCompile(`(?s)Statistics:.*Queries sent:\s*(\d+).*Queries completed:\s*(\d+).*Queries lost:\s*(\d+).*` +
	`Response codes:([^\n]*)\n.*Queries per second:\s*([0-9.]+).*Average Latency \(s\):\s*([0-9.]+)`)

// code matches a response code with its number of answers.
var code = regexp.MustCompile(`(\w+) (\d+) \(`)

func parse(page string) (r Result, err error) {
	match := statistics.FindStringSubmatch(page)
	if match == nil {
		return r, fmt.Errorf("reading what dnsperf printed: no statistics in %q", page)
	}
	var mean float64
	_, err = fmt.Sscan(strings.Join([]string{match[1], match[2], match[3], match[5], match[6]}, " "), &r.Sent, &r.Answered, &r.Lost, &r.Rate, &mean)
	if err != nil {
		return r, fmt.Errorf("reading the statistics of dnsperf: %w", err)
	}
	r.Mean = seconds(mean)
	r.Codes = map[string]int{}
	for _, c := range code.FindAllStringSubmatch(match[4], -1) {
		r.Codes[c[1]], _ = strconv.Atoi(c[2]) // digits
	}
	for line := range strings.Lines(page) {
		if d, ok := latency(line); ok {
			r.Latencies = append(r.Latencies, d)
		}
	}
	return r, nil
}

// latency reads a line of an answer: "> NOERROR svc1.default A 0.000123". A line of a query without an answer has no latency.
func latency(line string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(line, "> ")
	words := strings.Fields(rest)
	if !ok || len(words) != 4 {
		return 0, false
	}
	s, err := strconv.ParseFloat(words[3], 64)
	return seconds(s), err == nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond)
}
