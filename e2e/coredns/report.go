// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
)

// The marks in the document between which its tables are written.
const begin, end = "<!-- begin of what make conformance-coredns writes -->\n", "<!-- end of what make conformance-coredns writes -->\n"

// counts says how many tests passed, were skipped and failed in a variant.
func (r *results) counts(i int) string {
	n := map[status]int{}
	for _, o := range r.outcomes[i] {
		n[o.status]++
	}
	return fmt.Sprintf("%d passed, %d skipped, %d failed", n[passed], n[skipped], n[failed])
}

var (
	unknownDirective = regexp.MustCompile(`Unknown directive '(\w+)'`)
	message          = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$`)
)

// missing returns the plugin that is not in the variant's list; "" if the test does not fail for want of one.
func (r *results) missing(i int, test string) string {
	if m := unknownDirective.FindStringSubmatch(r.outcomes[i][test].output); m != nil && r.outcomes[i][test].status == failed {
		return m[1]
	}
	return ""
}

// why returns why a test did not pass in some variant.
func (r *results) why(test string) string {
	if reason := reasons[test]; reason != "" {
		return reason
	}
	for i := range r.variants {
		o := r.outcomes[i][test]
		if o.status == passed || r.missing(i, test) != "" {
			continue
		}
		if m := message.FindAllStringSubmatch(o.output, -1); m != nil {
			return "it says: " + strings.ReplaceAll(m[len(m)-1][1], "|", `\|`)
		}
		return strings.TrimPrefix(o.output, "not run: ")
	}
	return ""
}

// faults returns what must not be: a failure that the tests do not have without the plugins of this repository, a test that does not
// pass and has no reason, and a reason without such a test.
func (r *results) faults() error {
	var all []error
	for _, test := range r.tests {
		everywhere := true
		for i, v := range r.variants {
			if r.outcomes[i][test].status == passed || r.missing(i, test) != "" {
				continue
			}
			everywhere = false
			if r.outcomes[i][test].status == failed && r.outcomes[v.base][test].status != failed {
				all = append(all, fmt.Errorf("%s, %s: it fails, and does not without the plugins of this repository:\n%s", test, v.name, r.outcomes[i][test].output))
			}
		}
		switch {
		case everywhere && reasons[test] != "":
			all = append(all, fmt.Errorf("%s passes: take its reason out of reasons.go", test))
		case !everywhere && reasons[test] == "":
			all = append(all, fmt.Errorf("%s does not pass: find out why, and put the reason into reasons.go: %s", test, r.why(test)))
		}
	}
	for _, t := range r.packages {
		for _, test := range t.failed {
			if !slices.Contains(t.alike, test) {
				all = append(all, fmt.Errorf("plugin/%s, %s: it fails, and does not with CoreDNS's own go.mod", t.plugin, test))
			}
		}
	}
	return errors.Join(all...)
}

// write writes the tables: those of all tests to coredns.md in scratch, and those of the others into doc, if it is not empty.
func (r *results) write(scratch, doc string) error {
	if err := os.WriteFile(filepath.Join(scratch, "coredns.md"), []byte(r.tables(true)), 0o644); err != nil {
		return err
	}
	if doc == "" {
		return nil
	}
	return output.Insert(doc, begin, end, r.tables(false))
}

// tables returns the tables. Without complete a test that passed in all variants, or that only lacks a plugin, has no line.
func (r *results) tables(complete bool) string {
	var b strings.Builder
	b.WriteString("| test/, " + fmt.Sprint(len(r.tests)) + " tests |")
	for _, v := range r.variants {
		fmt.Fprintf(&b, " %s |", v.name)
	}
	b.WriteString(" why |\n|---" + strings.Repeat("|---", len(r.variants)+1) + "|\n")
	for _, s := range []status{passed, skipped, failed} {
		fmt.Fprintf(&b, "| *%s* |", s)
		for i := range r.variants {
			fmt.Fprintf(&b, " %d |", r.count(i, s))
		}
		b.WriteString(" |\n")
	}
	b.WriteString("| *failed, and not without our plugins* |")
	for i := range r.variants {
		fmt.Fprintf(&b, " %s |", r.ownFaults(i))
	}
	b.WriteString(" |\n")
	for _, test := range r.tests {
		if line, plain := r.line(test); complete || !plain {
			b.WriteString(line)
		}
	}
	return b.String() + "\n" + r.missingTable() + "\n" + r.hits() + "\n" + r.pluginTable(complete)
}

func (r *results) count(i int, s status) (n int) {
	for _, o := range r.outcomes[i] {
		if o.status == s {
			n++
		}
	}
	return n
}

// ownFaults says how many tests fail in a variant and not in its base, and how many of them for want of a plugin.
func (r *results) ownFaults(i int) string {
	n, want := 0, 0
	for _, test := range r.tests {
		if r.outcomes[i][test].status == failed && r.outcomes[r.variants[i].base][test].status != failed {
			n++
			if r.missing(i, test) != "" {
				want++
			}
		}
	}
	if want > 0 {
		return fmt.Sprintf("%d, %d of them for want of a plugin", n, want)
	}
	return fmt.Sprint(n)
}

// line returns a test's line. plain: the test passed in all variants, or only lacks a plugin.
func (r *results) line(test string) (line string, plain bool) {
	plain = true
	cells := []string{test}
	for i := range r.variants {
		o := r.outcomes[i][test]
		cell := string(o.status)
		if p := r.missing(i, test); p != "" {
			cell = "no plugin " + p
		} else if o.status != passed {
			plain = false
		}
		if o.status == passed && o.tries > 1 {
			cell += fmt.Sprintf(" at attempt %d", o.tries)
		}
		cells = append(cells, cell)
	}
	if !plain {
		cells = append(cells, r.why(test))
	} else {
		cells = append(cells, "")
	}
	return "| " + strings.Join(cells, " | ") + " |\n", plain
}

// missingTable lists the plugins that are not compiled in, with the number of tests that need them.
func (r *results) missingTable() string {
	n := map[string]int{}
	for _, test := range r.tests {
		for i := range r.variants {
			if p := r.missing(i, test); p != "" {
				n[p]++
			}
		}
	}
	var names []string
	for _, p := range slices.Sorted(maps.Keys(n)) {
		names = append(names, fmt.Sprintf("*%s* (%d)", p, n[p]))
	}
	return "Not compiled in, with the number of tests that need it: " + strings.Join(names, ", ") + ".\n"
}

// hits says in how many tests a plugin of this repository did its work.
func (r *results) hits() string {
	tests, sums := map[string]int{}, map[string]float64{}
	for i := range r.variants {
		for _, o := range r.outcomes[i] {
			for name, n := range o.counted {
				if n > 0 {
					tests[name]++
					sums[name] += n
				}
			}
		}
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		lines = append(lines, fmt.Sprintf("`%s` %g in %d tests", name, sums[name], tests[name]))
	}
	return "What the plugins of this repository did: " + strings.Join(lines, ", ") + ".\n"
}

// pluginTable lists the tests of the plugins.
func (r *results) pluginTable(complete bool) string {
	var b strings.Builder
	pass, skip, fail := 0, 0, 0
	for _, t := range r.packages {
		pass, skip, fail = pass+len(t.passed), skip+len(t.skipped), fail+len(t.failed)
	}
	fmt.Fprintf(&b, "| plugin | passed | skipped | failed | of them without this repository, too |\n|---|---|---|---|---|\n| *all %d* | %d | %d | %d | |\n",
		len(r.packages), pass, skip, fail)
	for _, t := range r.packages {
		var skips []string
		for _, test := range t.skipped {
			skips = append(skips, test+": "+t.why[test])
		}
		if complete || len(t.skipped)+len(t.failed) > 0 {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", t.plugin, len(t.passed), strings.Join(skips, "; "), strings.Join(t.failed, ", "),
				strings.Join(t.alike, ", "))
		}
	}
	return b.String()
}
