// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/clusterdns"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/statuscmd"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/top"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// documents are the Markdown files for users, from the root of the repository.
var documents = []string{"README.md", "README.zh-CN.md", "docs/operations.md", "docs/migration.md", "docs/design.md", "docs/plugins.md", "docs/process.md", "docs/manifests.md",
	"docs/testing.md", "docs/conformance.md", "docs/performance.md", "docs/scale.md", "docs/alternatives.md", "docs/operations.zh-CN.md", "docs/install/kubeadm.md", "docs/install/k3s.md", "docs/install/rke2.md",
	"docs/install/tke.md", "docs/install/eks.md", "docs/install/aks-gke.md",
	"plugin/nodelocal/README.md", "plugin/packetcache/README.md", "plugin/searchpath/README.md", "plugin/fairshare/README.md",
	"charts/nodelocaldns/README.md"}

const repository = "../../"

// document returns the text of a file of the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(repository + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examples returns the indented blocks of a Markdown file, without the indentation.
func examples(t *testing.T, name string) []string {
	t.Helper()
	var blocks []string
	for paragraph := range strings.SplitSeq("\n"+document(t, name), "\n\n") {
		if strings.HasPrefix(paragraph, "    ") {
			blocks = append(blocks, strings.ReplaceAll("\n"+paragraph, "\n    ", "\n"))
		}
	}
	return blocks
}

func TestCorefileOfTheREADME(t *testing.T) {
	n := 0
	for _, e := range examples(t, "README.md") {
		if strings.Contains(e, ":53 {") {
			n++
			if err := thePlugins.Check("README.md", []byte(e)); err != nil {
				t.Errorf("%v\n%s", err, e)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d Corefiles", n)
	}
}

var environment = regexp.MustCompile(`^[A-Z_]+=`)

func TestCommandsOfTheDocs(t *testing.T) {
	n := 0
	for _, file := range documents {
		for _, e := range examples(t, file) {
			for line := range strings.Lines(e) {
				args := strings.Fields(line)
				for len(args) > 0 && environment.MatchString(args[0]) {
					args = args[1:]
				}
				if len(args) > 1 && path.Base(args[0]) == "nodelocaldns" {
					n++
					if err := parseCommand(args[1:]); err != nil {
						t.Errorf("%s: %s: %v", file, line, err)
					}
				}
			}
		}
	}
	if n < 10 {
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
		err = clusterdns.RenderManifests(append(args[2:], "-help"), io.Discard, io.Discard)
	case len(args) > 0 && args[0] == "check":
		_, err = options.ParseCheck(args[1:])
	case len(args) > 0 && args[0] == "render":
		_, err = options.Parse(args[1:])
	case len(args) > 0 && args[0] == "kubelet-dns":
		err = clusterdns.KubeletDNS(append(args[1:], "-help"), io.Discard)
	case len(args) > 0 && args[0] == "status":
		_, err = statuscmd.Run(append(args[1:], "-help"), io.Discard)
	case len(args) > 0 && args[0] == "top":
		err = top.Run(append(args[1:], "-help"), io.Discard, io.Discard)
	case len(args) == 1 && (args[0] == "cleanup" || args[0] == "version" || args[0] == "wait"):
	default:
		_, err = options.Parse(args)
	}
	return err
}

// TestSedLinesOfTheDocs compares them with those that the manifest is tested with.
func TestSedLinesOfTheDocs(t *testing.T) {
	text := document(t, "README.md")
	for mode, line := range sedLines {
		if !strings.Contains(text, "\n    "+line+"\n") {
			t.Errorf("README.md has not the line for mode %s: %s", mode, line)
		}
	}
}

var (
	repositoryPath = regexp.MustCompile(`(?:^|[\s\x60(]|\./)((?:manifests|docs|hack|e2e|corefiles|internal|cmd)/[A-Za-z0-9_./-]*[A-Za-z0-9])`)
	relativeLink   = regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)
	kustomization  = regexp.MustCompile(` -k (\S+)`)
)

// TestPathsOfTheDocs finds files that were moved.
func TestPathsOfTheDocs(t *testing.T) {
	exists := func(name, p string) {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range documents {
		text := document(t, name)
		for _, m := range repositoryPath.FindAllStringSubmatch(text, -1) {
			exists(name, repository+m[1])
		}
		for _, m := range relativeLink.FindAllStringSubmatch(text, -1) {
			exists(name, filepath.Join(repository, filepath.Dir(name), m[1]))
		}
		for _, e := range examples(t, name) {
			for _, m := range kustomization.FindAllStringSubmatch(e, -1) {
				exists(name, repository+m[1]+"/kustomization.yaml")
			}
		}
	}
}

var anchor = regexp.MustCompile(`\]\(([^):#]*)#([^)]*)\)`)

// TestAnchorsOfTheDocs finds links to headings that are not there.
func TestAnchorsOfTheDocs(t *testing.T) {
	for _, name := range documents {
		for _, m := range anchor.FindAllStringSubmatch(document(t, name), -1) {
			target := name
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(name), m[1])
			}
			if !slices.Contains(anchors(document(t, target)), m[2]) {
				t.Errorf("%s: %s has no heading #%s", name, target, m[2])
			}
		}
	}
}

// anchors names the headings of a text as GitHub does.
func anchors(text string) (names []string) {
	for _, h := range headings(text) {
		_, h, _ = strings.Cut(strings.ToLower(h), " ")
		h = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(h, "")
		names = append(names, strings.ReplaceAll(h, " ", "-"))
	}
	return names
}

func headings(text string) []string {
	return regexp.MustCompile(`(?m)^#+ .*$`).FindAllString(text, -1)
}

var (
	makeInProse = regexp.MustCompile("`make ([a-z0-9-]+)")
	makeTarget  = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
)

func TestMakeTargetsOfTheDocs(t *testing.T) {
	known := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(document(t, "Makefile"), -1) {
		known[m[1]] = true
	}
	n := 0
	for _, name := range documents {
		found := makeInProse.FindAllStringSubmatch(document(t, name), -1)
		for _, e := range examples(t, name) {
			found = append(found, regexp.MustCompile(`(?m)^make ([a-z0-9-]+)`).FindAllStringSubmatch(e, -1)...)
		}
		for _, m := range found {
			n++
			if !known[m[1]] {
				t.Errorf("%s: there is no target %s", name, m[1])
			}
		}
	}
	if n < 10 {
		t.Errorf("%d targets", n)
	}
}

// TestPatchesOfTheDocs: what kubectl patch is given is JSON.
func TestPatchesOfTheDocs(t *testing.T) {
	n := 0
	for _, name := range documents {
		for _, e := range examples(t, name) {
			for _, m := range regexp.MustCompile(` -p '([^']*)'`).FindAllStringSubmatch(e, -1) {
				n++
				if !json.Valid([]byte(m[1])) {
					t.Errorf("%s: no JSON: %s", name, m[1])
				}
			}
		}
	}
	if n < 1 {
		t.Errorf("%d patches", n)
	}
}

// TestMetricsOfTheDocs finds names of metrics that there are not.
func TestMetricsOfTheDocs(t *testing.T) {
	source := document(t, "plugin/nodelocal/metrics.go") + document(t, "internal/logwriter/logwriter.go")
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`metric\.Of\("(\w+)"\)\.\w+\("([a-z_]+)"`).FindAllStringSubmatch(source, -1) {
		known["coredns_"+m[1]+"_"+m[2]] = true
	}
	for _, m := range regexp.MustCompile(`(?:own\.\w+\(|moment\(&\w+, |string\(own\), )"([a-z_]+)"`).FindAllStringSubmatch(source, -1) {
		known["coredns_nodelocal_"+m[1]] = true
	}
	if len(known) < 10 {
		t.Fatalf("found %v", known)
	}
	for _, name := range documents {
		for _, metric := range regexp.MustCompile(`coredns_node(?:local|cache)_[a-z_]*[a-z]`).FindAllString(document(t, name), -1) {
			if !known[metric] {
				t.Errorf("%s: there is no metric %s", name, metric)
			}
		}
	}
	for metric := range known {
		if !strings.Contains(document(t, "plugin/nodelocal/README.md"), "`"+metric) {
			t.Errorf("plugin/nodelocal/README.md says nothing of %s", metric)
		}
	}
}

// TestFlagsOfTheREADME compares the table with the flags that there are.
func TestFlagsOfTheREADME(t *testing.T) {
	documented := map[string]bool{}
	for _, cell := range flagCells(document(t, "README.md")) {
		for _, m := range regexp.MustCompile("`-([a-z.-]+)`").FindAllStringSubmatch(cell, -1) {
			documented[m[1]] = true
		}
	}
	known := map[string]bool{}
	for _, row := range options.Table {
		known[row.Flag] = true
		if !documented[row.Flag] && row.Flag != "corefile" { // the older name of conf
			t.Errorf("README.md says nothing of -%s", row.Flag)
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("README.md tells of -%s, which there is not", name)
		}
	}
}

// TestDefaultsOfTheDocs compares the defaults in the README's table, and the options in the manual of the stanza, with the table.
func TestDefaultsOfTheDocs(t *testing.T) {
	readme, manual := document(t, "README.md"), document(t, "plugin/nodelocal/README.md")
	for _, row := range options.Table {
		if m := regexp.MustCompile("(?m)^\\| `-" + regexp.QuoteMeta(row.Flag) + "`[^|]*\\| ([^|]*) \\|").FindStringSubmatch(readme); m != nil && row.Default != "" && m[1] != row.Default {
			t.Errorf("README.md has %q as the default of -%s, which is %q", m[1], row.Flag, row.Default)
		}
		if row.Word != "" && !strings.Contains(manual, "\n    "+row.Word) {
			t.Errorf("plugin/nodelocal/README.md says nothing of %s", row.Word)
		}
	}
}

// flagCells returns the first cells of the rows about flags.
func flagCells(text string) (cells []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| `-") {
			cell, _, _ := strings.Cut(line[1:], "|")
			cells = append(cells, strings.TrimSpace(cell))
		}
	}
	return cells
}

// TestTranslation compares what of the README is the same in every language.
func TestTranslation(t *testing.T) {
	const original, translation = "README.md", "README.zh-CN.md"
	a, b := document(t, original), document(t, translation)
	comment := regexp.MustCompile(`(?m)[ \t]*(^|\s)# .*$`)
	codeOf := func(name string) (blocks []string) {
		for _, e := range examples(t, name) {
			blocks = append(blocks, comment.ReplaceAllString(e, ""))
		}
		return blocks
	}
	ones := func(text string, pattern string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		return found
	}
	for what, of := range map[string]func(name, text string) []string{
		"code blocks": func(name, _ string) []string { return codeOf(name) },
		"flags":       func(_, text string) []string { return flagCells(text) },
		"levels of headings": func(_, text string) []string {
			return ones(text, `(?m)^(#+) `)
		},
		"columns of the tables' rows": func(_, text string) []string {
			rows := ones(text, `(?m)^(\|.*\|)$`)
			for i, r := range rows {
				rows[i] = strings.Repeat("|", strings.Count(r, "|"))
			}
			return rows
		},
		"links": func(_, text string) []string {
			links := ones(text, `\]\(([^)]*)\)`)
			return slices.DeleteFunc(links, func(l string) bool {
				return strings.HasPrefix(l, "README") || strings.HasPrefix(l, "#") || strings.HasSuffix(l, ".zh-CN.md")
			})
		},
		"figures": func(_, text string) []string {
			figures := ones(text, `(\d{1,2},\d{3})`)
			slices.Sort(figures)
			return figures
		},
	} {
		if x, y := of(original, a), of(translation, b); !slices.Equal(x, y) {
			t.Errorf("%s differ:\n%q\n%q", what, x, y)
		}
	}
}
