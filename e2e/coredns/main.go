// SPDX-License-Identifier: Apache-2.0

// Command coredns runs CoreDNS's own tests with the plugins of this repository, and writes what came of it. It takes the sources of
// the CoreDNS in go.mod, and makes a copy in the scratch directory, where the tests of CoreDNS's directory test/ are built with all
// plugins of both. Each test runs in a process and a network namespace of its own, with each list of plugins:
//
//	go run ./e2e/coredns [-scratch DIR] [-doc FILE] [-run REGEXP]
//
// It needs root. It fails if a test fails that does not fail without the plugins of this repository, if a test does not pass and
// reasons.go has no reason, and if a reason is not needed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == insideWord {
		fmt.Fprintln(os.Stderr, inside(os.Args[2:]))
		os.Exit(1)
	}
	scratch := flag.String("scratch", "bin/conformance", "directory for the copy of CoreDNS and the results")
	doc := flag.String("doc", "docs/conformance.md", "file whose part about CoreDNS's tests is written; empty: none")
	only := flag.String("run", "", "regular expression for the tests of test/; with one, the document is not written")
	flag.Parse()
	if err := run(*scratch, *doc, *only); err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		os.Exit(1)
	}
}

// run makes the copy, runs the tests in it and writes the tables.
func run(scratch, doc, only string) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("it needs root, for network namespaces")
	}
	scratch, err := filepath.Abs(scratch)
	if err != nil {
		return err
	}
	l, err := readLists()
	if err != nil {
		return err
	}
	dir := filepath.Join(scratch, "coredns")
	defer os.RemoveAll(dir) // make lint looks at all files of this directory
	c, err := newCopy(dir, l)
	if err != nil {
		return err
	}
	r, err := c.runAll(runsOf(l), only)
	if err != nil {
		return err
	}
	if only == "" {
		if r.packages, err = c.pluginTests(l); err != nil {
			return err
		}
		if err := r.write(scratch, doc); err != nil {
			return err
		}
	}
	return r.faults()
}
