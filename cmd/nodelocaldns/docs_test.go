// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// examples returns the indented blocks of a Markdown file, without the indentation.
func examples(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for paragraph := range strings.SplitSeq("\n"+string(text), "\n\n") {
		if strings.HasPrefix(paragraph, "    ") {
			blocks = append(blocks, strings.ReplaceAll("\n"+paragraph, "\n    ", "\n"))
		}
	}
	return blocks
}

func TestCorefileOfTheREADME(t *testing.T) {
	n := 0
	for _, e := range examples(t, "../../README.md") {
		if strings.Contains(e, ":53 {") {
			n++
			if err := check("README.md", []byte(e)); err != nil {
				t.Errorf("%v\n%s", err, e)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d Corefiles", n)
	}
}

func TestCommandsOfTheDocs(t *testing.T) {
	n := 0
	for _, file := range []string{"README.md", "docs/operations.md", "docs/migration.md"} {
		for _, e := range examples(t, "../../"+file) {
			for line := range strings.Lines(e) {
				if args := strings.Fields(line); len(args) > 1 && args[0] == "nodelocaldns" {
					n++
					if err := parseCommand(args[1:]); err != nil {
						t.Errorf("%s: %s: %v", file, line, err)
					}
				}
			}
		}
	}
	if n < 2 {
		t.Errorf("%d commands", n)
	}
}

// parseCommand parses a command line, up to a pipe or a redirection, and does nothing.
func parseCommand(args []string) error {
	if end := slices.IndexFunc(args, func(a string) bool { return a == "|" || a == ">" }); end >= 0 {
		args = args[:end]
	}
	var err error
	switch {
	case len(args) > 1 && args[0] == "render" && args[1] == "manifests":
		_, err = parseManifestOptions(args[2:])
	case len(args) > 0 && args[0] == "render":
		_, err = parseOptions(args[1:])
	case len(args) > 0 && args[0] == "kubelet-dns":
		err = new(kubeletDNS).flagSet().Parse(args[1:])
	case len(args) == 1 && (args[0] == "cleanup" || args[0] == "version" || args[0] == "wait"):
	default:
		_, err = parseOptions(args)
	}
	return err
}

// TestFlagsOfTheREADME compares the table with the flags that there are.
func TestFlagsOfTheREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `-") {
			cell, _, _ := strings.Cut(line[1:], "|")
			for _, m := range regexp.MustCompile("`-([a-z.-]+)`").FindAllStringSubmatch(cell, -1) {
				documented[m[1]] = true
			}
		}
	}
	known := map[string]bool{"corefile": true, "dns.port": true} // corefile is the older name of conf
	new(options).flagSet().VisitAll(func(f *flag.Flag) {
		known[f.Name] = true
		if !documented[f.Name] && f.Name != "corefile" {
			t.Errorf("README.md says nothing of -%s", f.Name)
		}
	})
	for name := range documented {
		if !known[name] {
			t.Errorf("README.md tells of -%s, which there is not", name)
		}
	}
}
