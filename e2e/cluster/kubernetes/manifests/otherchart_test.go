// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	update     = flag.Bool("update", false, "write the differences into docs/migration.md")
	otherChart = flag.String("theirs", "", "directory of deliveryhero/node-local-dns 2.9.2, stable/node-local-dns of its repository: write what it renders into testdata")
)

const (
	golden    = "testdata/deliveryhero.golden"
	migration = repository + "docs/migration.md"
	// asIs is the section of the golden file without a variation.
	asIs = "default values"
	// about begins the golden file.
	about = `# What the chart deliveryhero/node-local-dns 2.9.2 (commit 0e42740 of github.com/deliveryhero/helm-charts, 2026-07-06) renders by helm 3.18.6
# with its default values, and what each of variations.yaml changes in that (+ new or changed, - gone). To write this file:
# go test ./manifests -run TestOtherChart -theirs DIRECTORY
`
)

type variation struct {
	Name   string
	Values map[string]any
}

func variations(t *testing.T) (all []variation) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, "testdata/variations.yaml")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// file writes the values of the other chart's defaults and the variation.
func (v variation) file(t *testing.T) string {
	t.Helper()
	text, err := yaml.Marshal(v.Values)
	if err != nil {
		t.Fatal(err)
	}
	return values(t, string(text))
}

// sections renders a chart with the other chart's default values, and with each variation of them.
func sections(t *testing.T, chart string) (rows, map[string][]string) {
	t.Helper()
	defaults := absolute(t, theirs+"/values.yaml")
	before := rowsOf(t, text(t, chart, "-f", defaults))
	changes := map[string][]string{}
	for _, v := range variations(t) {
		changes[v.Name] = rowsOf(t, text(t, chart, "-f", defaults, "-f", v.file(t))).since(before)
	}
	return before, changes
}

// TestOtherChart compares what this chart and deliveryhero/node-local-dns render, and the tables of that in docs/migration.md.
func TestOtherChart(t *testing.T) {
	if *otherChart != "" {
		before, changes := sections(t, *otherChart)
		writeGolden(t, before, changes)
	}
	theirDefaults, theirChanges := readGolden(t)
	ours, ourChanges := sections(t, chart(t))
	document := read(t, migration)
	want := replaceTable(t, document, "differences", differences(theirDefaults, ours))
	want = replaceTable(t, want, "variations", variationTable(variations(t), theirChanges, ourChanges))
	if *update {
		if err := os.WriteFile(migration, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if document != want {
		t.Error("docs/migration.md does not say what the charts render: look at what go test ./manifests -run TestOtherChart -update makes of it")
	}
}

// TestStandIn compares the chart that a story of e2e/cluster upgrades from with the chart for which it stands in.
func TestStandIn(t *testing.T) {
	want, _ := readGolden(t)
	got := rowsOf(t, text(t, absolute(t, theirs)))
	for _, line := range got.since(want) {
		t.Errorf("the stand-in differs: %s", line)
	}
}

func writeGolden(t *testing.T, before rows, changes map[string][]string) {
	t.Helper()
	text := about + "\n## " + asIs + "\n" + strings.Join(before.lines(), "\n") + "\n"
	for _, v := range variations(t) {
		text += "\n## " + v.Name + "\n" + strings.Join(changes[v.Name], "\n") + "\n"
	}
	if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T) (rows, map[string][]string) {
	t.Helper()
	before, changes := rows{}, map[string][]string{}
	for _, section := range strings.Split(read(t, golden), "\n## ")[1:] {
		name, lines, _ := strings.Cut(strings.TrimSpace(section), "\n")
		if name != asIs {
			changes[name] = strings.Split(lines, "\n")
			continue
		}
		for line := range strings.SplitSeq(lines, "\n") {
			k, v, _ := strings.Cut(line, " = ")
			before[k] = v
		}
	}
	if len(before) == 0 || len(changes) != len(variations(t)) {
		t.Fatalf("%d fields and %d variations in %s", len(before), len(changes), golden)
	}
	return before, changes
}

// differences is a table of the fields that the charts render otherwise. Objects and server blocks with the same difference share a row.
func differences(theirs, ours rows) string {
	where := map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(merged(theirs, ours))) {
		a, b := cell(theirs, k), cell(ours, k)
		if a == b {
			continue
		}
		object, path := k, ""
		if i := strings.LastIndex(k, sep); i >= 0 {
			object, path = k[:i], k[i+len(sep):]
		}
		key := fmt.Sprintf("%s | %s | %s", code(path), a, b)
		where[key] = append(where[key], inZone(object))
	}
	var lines []string
	for key, objects := range where {
		lines = append(lines, fmt.Sprintf("| %s | %s |", strings.Join(objects, ", "), key))
	}
	slices.Sort(lines)
	return "| object, or zone of the Corefile | field or plugin | there | here |\n|---|---|---|---|\n" + strings.Join(lines, "\n") + "\n"
}

func merged(a, b rows) rows {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// cell is a value as it stands in a table.
func cell(r rows, key string) string {
	v, found := r[key]
	switch {
	case !found:
		return "–"
	case v == "":
		return "yes"
	}
	return code(v)
}

func code(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

// variationTable says what each variation changes in both charts, and what in one of them.
func variationTable(all []variation, theirs, ours map[string][]string) string {
	text := "| values | both change | only there | only here |\n|---|---|---|---|\n"
	for _, v := range all {
		a, b := theirs[v.Name], ours[v.Name]
		in := func(other []string, want bool) (lines []string) {
			for _, line := range a {
				if slices.Contains(other, line) == want {
					lines = append(lines, line)
				}
			}
			return lines
		}
		both, there := in(b, true), in(b, false)
		a = b
		here := in(theirs[v.Name], false)
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", v.Name, list(both), list(there), list(here))
	}
	return text
}

// list prints changes; what is the same in more than one object or server block is one of them.
func list(lines []string) string {
	if len(lines) == 0 {
		return "–"
	}
	var whats []string
	where := map[string][]string{}
	for _, line := range lines {
		sign, rest := line[:2], line[2:]
		if before, _, found := strings.Cut(rest, sep); found && slices.Contains(lines, "+ "+before) {
			continue // an object that only one chart has
		}
		object, what := "", rest
		if i := strings.LastIndex(strings.Split(rest, " = ")[0], sep); i >= 0 {
			object, what = rest[:i], rest[i+len(sep):]
		}
		what = code(sign + what)
		if where[what] == nil {
			whats = append(whats, what)
		}
		if object != "" {
			where[what] = append(where[what], inZone(object))
		}
	}
	for i, what := range whats {
		if objects := where[what]; len(objects) > 0 {
			whats[i] = what + " (" + strings.Join(objects, ", ") + ")"
		}
	}
	return strings.Join(whats, "<br>")
}

// inZone names a server block by its zone alone.
func inZone(object string) string {
	_, zone, found := strings.Cut(object, sep+"block ")
	if found {
		return "zone " + zone
	}
	return object
}

// replaceTable puts a table between its marks in a document.
func replaceTable(t *testing.T, document, name, table string) string {
	t.Helper()
	mark := regexp.MustCompile(`(?s)(<!-- ` + name + `: [^\n]*-->\n).*?(\n<!-- end -->)`)
	if !mark.MatchString(document) {
		t.Fatalf("no mark for the table %s in %s", name, migration)
	}
	return mark.ReplaceAllStringFunc(document, func(s string) string {
		m := mark.FindStringSubmatch(s)
		return m[1] + "\n" + table + m[2]
	})
}
