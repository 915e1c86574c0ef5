// SPDX-License-Identifier: Apache-2.0

// Command perftests asks what the DNS tests of kubernetes/perf-tests ask, with the same client, dnsperf. A pod asks the cluster DNS
// alone, the cluster DNS behind the stand-in for k8s-dns-node-cache, and the cluster DNS behind nodelocaldns. The cluster DNS is CoreDNS
// with the plugin kubernetes, beside an API server of the lab. Everything is in network namespaces that end with the command.
//
// It prints its progress, writes results.json and results.md, and does not judge, but fails if an answer is not the expected one.
// hack/loads.sh runs it. perftests -results FILE writes the tables again from a results.json.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "perftests:", err)
		os.Exit(1)
	}
}

// run measures, or reads what was measured, and writes the tables.
func run() error {
	seconds := flag.Int("seconds", 15, "`SECONDS` that a measurement takes; that of the guides takes four times as long")
	out := flag.String("out", "bin/loads", "`DIRECTORY` for the results")
	document := flag.String("document", "", "`FILE` that gets the tables, too, such as docs/performance.md")
	file := flag.String("results", "", "`FILE` with results, in the place of a measurement")
	flag.Parse()
	r := &results{Seconds: *seconds}
	if *file != "" {
		if err := output.Read(*file, r); err != nil {
			return err
		}
		fmt.Print(r.tables())
	} else if err := errors.Join(r.measure(), output.Write(*out, r, map[string]string{"results.md": r.tables()})); err != nil {
		return err
	}
	if *document == "" {
		return nil
	}
	return output.Insert(*document, begin, end, r.tables())
}

// measure goes through all measurements. The arrangements take turns, each time beginning with another one, as the speed of a machine
// that is shared changes within minutes.
func (r *results) measure() error {
	begin, before := time.Now(), usage.ReadTicks()
	err := harness.With(func(h *harness.Host) {
		r.Machine = usage.DescribeMachine()
		var all []*arrangement
		for _, k := range kinds {
			all = append(all, newArrangement(h, k))
			fmt.Printf("%s: answers as expected\n", k.title)
		}
		for i, m := range measurements {
			for j := range all {
				f := all[(i+j)%len(all)].measure(m, r.Seconds)
				fmt.Printf("%4.0f s  %-32s %s\n", time.Since(begin).Seconds(), m, f)
				r.Figures = append(r.Figures, f)
			}
		}
	})
	r.Machine.Stolen, r.Machine.Others = usage.Interference(before, usage.ReadTicks())
	return err
}

// The tables in a document are between these lines.
const (
	begin = "<!-- make loads writes these tables -->\n"
	end   = "<!-- end -->\n"
)
