// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The runs of the suite, in the order of the table's columns.
const (
	Without = "without the cache"
	With    = "with it"
	Killed  = "a cache killed every 20 s"
	Updated = "updates one after another"
	// Forwarded is of one test, see stubDomain. It is in the column of With.
	Forwarded = "with all names forwarded"
)

var runs = []string{Without, With, Killed, Updated}

// All is the results of the runs, by the cluster's mode and the run's name.
type All map[string]map[string]Results

// ReadAll reads the JUnit files in the folders MODE/RUN of a directory.
func ReadAll(dir string) (All, error) {
	files, err := fs.Glob(os.DirFS(dir), "*/*/junit_01.xml")
	if err != nil {
		return nil, err
	}
	all := All{}
	for _, file := range files {
		results, err := ReadResults(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		mode, run := filepath.Dir(filepath.Dir(file)), filepath.Base(filepath.Dir(file))
		if all[mode] == nil {
			all[mode] = map[string]Results{}
		}
		all[mode][run] = results
	}
	return all, nil
}

// Table is a table in Markdown: a row for each test, a column for each run.
func (a All) Table() string {
	var b strings.Builder
	modes := slices.Sorted(maps.Keys(a))
	fmt.Fprintf(&b, "Modes: %s.\n\n| test | %s |\n|---|%s\n", strings.Join(modes, ", "), strings.Join(runs, " | "), strings.Repeat("---|", len(runs)))
	for _, name := range a.tests() {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(strings.TrimPrefix(name, "[sig-network] "), "|", `\|`))
		for _, run := range runs {
			fmt.Fprintf(&b, " %s |", a.cell(modes, run, name))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// tests are the names of all tests of all runs.
func (a All) tests() []string {
	names := map[string]bool{}
	for _, byRun := range a {
		for _, results := range byRun {
			for name := range results {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// cell is the outcome of a test in all modes, or the outcomes, each with its modes.
func (a All) cell(modes []string, run, name string) string {
	by := map[string][]string{}
	for _, mode := range modes {
		what := a.outcome(mode, run, name)
		by[what] = append(by[what], mode)
	}
	if len(by) == 1 {
		return slices.Collect(maps.Keys(by))[0]
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, what+": "+strings.Join(by[what], ", "))
	}
	return strings.Join(parts, "; ")
}

// outcome is that of one test in one mode, as the table says it.
func (a All) outcome(mode, run, name string) string {
	r, ok := a[mode][run][name]
	forwarded, special := a[mode][Forwarded][name]
	switch {
	case ok && r.Outcome == Skipped:
		return string(Skipped) + " (" + r.Why + ")"
	case ok:
		return string(r.Outcome)
	case special && run == With:
		return string(forwarded.Outcome) + ", all names forwarded"
	}
	return string(Absent)
}

// count is the number of tests of each outcome.
func (r Results) count() map[Outcome]int {
	n := map[Outcome]int{}
	for _, one := range r {
		n[one.Outcome]++
	}
	return n
}

// The table in a document is between these lines.
const (
	tableBegin = "<!-- make conformance writes this table -->\n"
	tableEnd   = "<!-- end -->\n"
)
