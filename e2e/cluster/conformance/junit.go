// SPDX-License-Identifier: Apache-2.0

// Package conformance runs Kubernetes' own tests of DNS, and of Services that are asked by name, on a cluster: without the
// cache, with it, while the cache is killed, and while it is updated. No test may fail with the cache that passes without.
// make conformance builds what it needs.
package conformance

import (
	"encoding/xml"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Outcome is what became of a test of the suite.
type Outcome string

// The outcomes. Absent is that of a test that a run did not choose.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
	Absent  Outcome = "not run"
)

// Result is a test's outcome. Why is the suite's reason for a failure or a skip.
type Result struct {
	Outcome Outcome
	Why     string
}

// Results is the results of one run of the suite, by the tests' names.
type Results map[string]Result

type junit struct {
	Suites []struct {
		Cases []struct {
			Name    string `xml:"name,attr"`
			Status  string `xml:"status,attr"`
			Failure *struct {
				Text string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct {
				Text string `xml:",chardata"`
			} `xml:"error"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// ReadResults reads a JUnit file of the suite. That file has all tests of the suite; those that the run did not choose, and
// the steps before and after the tests, are left out.
func ReadResults(file string) (Results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var report junit
	if err := xml.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	all := Results{}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			name, isTest := strings.CutPrefix(c.Name, "[It] ")
			switch {
			case !isTest && (c.Failure != nil || c.Error != nil):
				all[c.Name] = Result{Failed, "outside of a test"}
			case !isTest:
			case c.Skipped != nil && c.Skipped.Message == "skipped":
			case c.Skipped != nil:
				all[name] = Result{Skipped, strings.TrimPrefix(c.Skipped.Message, "skipped - ")}
			case c.Failure != nil:
				all[name] = Result{Failed, strings.TrimSpace(c.Failure.Text)}
			case c.Error != nil:
				all[name] = Result{Failed, strings.TrimSpace(c.Error.Text)}
			case c.Status == "passed":
				all[name] = Result{Outcome: Passed}
			default:
				all[name] = Result{Failed, "status " + c.Status}
			}
		}
	}
	return all, nil
}

// Worse lists the tests that passed in one run and not in another, with what became of them.
func Worse(before, after Results) (all []string) {
	for name, r := range before {
		if r.Outcome != Passed {
			continue
		}
		if now, ok := after[name]; !ok {
			all = append(all, name+": "+string(Absent))
		} else if now.Outcome != Passed {
			all = append(all, fmt.Sprintf("%s: %s: %s", name, now.Outcome, now.Why))
		}
	}
	slices.Sort(all)
	return all
}
