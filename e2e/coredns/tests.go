// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nodelocaldns/nodelocaldns/e2e/coredns/infront"
)

// attempts is how often a test that fails is run. Some of CoreDNS's tests depend on time, or on ports that another socket may take.
const attempts = 3

// A status is what became of a test.
type status string

const (
	passed  status = "passed"
	skipped status = "skipped"
	failed  status = "failed"
)

// An outcome is what became of one test in one variant.
type outcome struct {
	status
	tries   int
	output  string // of the last try
	counted map[string]float64
}

// results are the outcomes of all tests.
type results struct {
	variants []variant
	tests    []string             // in the order of the sources
	outcomes []map[string]outcome // for each variant, by the name of the test
	packages []tally              // the tests of the plugins
}

// runAll runs each test of test/ whose name matches only in each variant.
func (c *tree) runAll(variants []variant, only string) (*results, error) {
	out, err := c.command(c.tests, "-test.list", cmp.Or(only, ".")).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w", err)
	}
	r := &results{variants: variants, outcomes: make([]map[string]outcome, len(variants))}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "Test") {
			r.tests = append(r.tests, name)
		}
	}
	for i, v := range variants {
		r.outcomes[i] = c.runVariant(v, r.tests)
		fmt.Printf("test/, %s: %s\n", v.name, r.counts(i))
	}
	tagged, err := c.tagged()
	if err != nil || only != "" {
		return r, err
	}
	for _, name := range tagged {
		r.tests = append(r.tests, name)
		for i := range variants {
			r.outcomes[i][name] = outcome{status: skipped, output: "not run: it needs a server of etcd"}
		}
	}
	return r, nil
}

// runVariant runs two tests at a time.
func (c *tree) runVariant(v variant, tests []string) map[string]outcome {
	var (
		mu    sync.Mutex
		all   = map[string]outcome{}
		group sync.WaitGroup
		next  = make(chan string)
	)
	for range 2 {
		group.Go(func() {
			for name := range next {
				o := c.runTest(v, name)
				mu.Lock()
				all[name] = o
				mu.Unlock()
			}
		})
	}
	for _, name := range tests {
		next <- name
	}
	close(next)
	group.Wait()
	return all
}

// runTest runs one test, in a process and a network namespace of its own, until it does not fail.
func (c *tree) runTest(v variant, name string) (o outcome) {
	if v.inFront && slices.Contains(notInFront, name) {
		return outcome{status: skipped, output: "not run: " + reasons[name]}
	}
	self, err := os.Executable()
	if err != nil {
		return outcome{status: failed, output: err.Error()}
	}
	for o.tries = 1; ; o.tries++ {
		cmd := exec.Command(self, insideWord, c.tests, "-test.run", "^"+name+"$", "-test.v", "-test.timeout", "60s")
		cmd.Dir, cmd.Env = filepath.Join(c.dir, "test"), append(os.Environ(), v.env...)
		out, err := cmd.CombinedOutput()
		o.output = string(out)
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit):
			return outcome{status: failed, output: err.Error()}
		case bytes.Contains(out, []byte("\n--- SKIP: "+name+" ")):
			o.status = skipped
		case err == nil && bytes.Contains(out, []byte("--- PASS: "+name+" ")):
			o.status = passed
		default:
			o.status = failed
		}
		if o.status != failed || o.tries == attempts {
			o.counted = countedIn(o.output)
			return o
		}
	}
}

// countedIn returns the counters that package infront has printed.
func countedIn(output string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(output) {
		var name string
		var value float64
		if _, err := fmt.Sscanf(line, infront.Counted+"%s %g", &name, &value); err == nil {
			all[name] = value
		}
	}
	return all
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// tagged returns the tests that are only built with the tag etcd.
func (c *tree) tagged() (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "test", "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if first, _, _ := bufio.ScanLines(text, true); !strings.HasPrefix(string(text[:first]), "//go:build etcd") {
			continue
		}
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names, nil
}
