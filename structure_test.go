// SPDX-License-Identifier: Apache-2.0

// Package structure has no code. Its test checks the bounds of packages and files, and the direction of imports.
package structure

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bounds hold for source files. Tests and generated files do not count.
const (
	maxFiles     = 12   // files of a package
	maxLines     = 2000 // lines of a package
	maxFileLines = 300  // lines of a file
)

// modules are the directories with a go.mod.
var modules = []string{".", "hack/image"}

// module is what the import paths of this module begin with. hack/image is a module of its own and imports none of this one.
const module = "github.com/nodelocaldns/nodelocaldns/"

// A floor is the part of the module below a directory. A package may import packages of its own floor and of the floors that
// its floor names.
//
// Each plugin is a floor of its own: it can be compiled into another CoreDNS without the others, and there is no exception.
// The packages of e2e stand apart: they test the program from outside, and must not share its faults.
var floors = map[string][]string{
	"internal":  nil,
	"corefiles": {"internal"},
	"plugin":    {"internal"},
	"manifests": {"corefiles", "internal"},
	"cmd":       {"manifests", "corefiles", "plugin", "internal"},
	"e2e":       nil,
}

// pkg is the part of the output of go list that the test reads.
type pkg struct {
	Dir, ImportPath                            string
	GoFiles, CgoFiles, IgnoredGoFiles, Imports []string
}

func TestSizes(t *testing.T) {
	for _, dir := range modules {
		for _, p := range list(t, dir) {
			files, lines := 0, 0
			for _, name := range append(append(p.GoFiles, p.CgoFiles...), p.IgnoredGoFiles...) {
				n := linesOf(t, filepath.Join(p.Dir, name))
				if n == 0 || strings.HasSuffix(name, "_test.go") {
					continue
				}
				if files, lines = files+1, lines+n; n > maxFileLines {
					t.Errorf("%s/%s has %d lines, more than %d: split it by concern", p.ImportPath, name, n, maxFileLines)
				}
			}
			if files > maxFiles || lines > maxLines {
				t.Errorf("%s has %d source files with %d lines, more than %d or %d: move a concern to a package below it", p.ImportPath, files, lines, maxFiles, maxLines)
			}
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, ".") {
		from := strings.TrimPrefix(p.ImportPath, module)
		seen[floorOf(from)] = true
		for _, path := range p.Imports {
			to, own := strings.CutPrefix(path, module)
			if !own {
				continue
			}
			if fault := upward(from, to); fault != "" {
				t.Errorf("%s imports %s: %s", from, to, fault)
			}
		}
	}
	for floor := range floors {
		if !seen[floor] {
			t.Errorf("floor %s has no package: remove it from floors", floor)
		}
	}
}

func TestUpward(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"cmd/nodelocaldns", "plugin/keep", true},
		{"cmd/nodelocaldns", "internal/hostnet", true},
		{"plugin/keep", "plugin/keep/internal/store", true},
		{"plugin/keep", "internal/shares", true},
		{"manifests", "corefiles", true},
		{"internal/hostnet", "internal/unicast", true},
		{"e2e/cluster/node", "e2e/lab", true},
		{"plugin/keep", "plugin/hedge", false},
		{"plugin/keep", "plugin/keeper", false},
		{"plugin/keep/internal/store", "plugin/keep", false},
		{"plugin/keep", "corefiles", false},
		{"corefiles", "plugin/keep", false},
		{"internal/hostnet/link", "internal/hostnet", false},
		{"internal/hostnet", "plugin/nodelocal", false},
		{"internal/hostnet", "cmd/nodelocaldns", false},
		{"corefiles", "manifests", false},
		{"e2e/lab", "internal/hostnet", false},
		{"tools", "internal/hostnet", false},
	} {
		if fault := upward(tt.from, tt.to); (fault == "") != tt.ok {
			t.Errorf("%s imports %s: %q", tt.from, tt.to, fault)
		}
	}
}

// upward returns what is wrong with the import of one package of the module by another; "" if nothing is.
func upward(from, to string) string {
	own, other := floorOf(from), floorOf(to)
	below, known := floors[own]
	switch {
	case !known:
		return "the floor of " + from + " is not known: add it to floors"
	case strings.HasPrefix(from, to+"/"):
		return "a package must not import the package of a directory above its own"
	case own != other && !slices.Contains(below, other):
		return own + " is not above " + other
	case own == "plugin" && other == "plugin" && pluginOf(from) != pluginOf(to):
		return "a plugin must not import another plugin"
	}
	return ""
}

func floorOf(path string) string {
	floor, _, _ := strings.Cut(path, "/")
	return floor
}

// pluginOf returns NAME of plugin/NAME/…
func pluginOf(path string) string { return strings.Split(path, "/")[1] }

// list returns all packages of the module in dir.
func list(t *testing.T, dir string) (all []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,CgoFiles,IgnoredGoFiles,Imports", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing the packages in %s: %v", dir, err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// linesOf returns the number of lines of a file; 0 for a generated one.
func linesOf(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if ast.IsGenerated(f) {
		return 0
	}
	return bytes.Count(text, []byte("\n"))
}
