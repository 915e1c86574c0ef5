// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const module = "github.com/nodelocaldns/nodelocaldns"

// A tree is CoreDNS's sources in a scratch directory, with a second go.mod beside CoreDNS's own.
type tree struct {
	dir   string
	tests string // the program with the tests of test/
}

// modfile is the go.mod of the copy that also requires this repository.
const modfile = "nodelocaldns.mod"

// newCopy copies CoreDNS to dir, changes its directory test/, and builds the tests there.
func newCopy(dir string, l lists) (*tree, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS(l.dir)); err != nil {
		return nil, fmt.Errorf("copying CoreDNS: %w", err)
	}
	c := &tree{dir: dir, tests: filepath.Join(dir, "test.test")}
	if err := c.require(); err != nil {
		return nil, err
	}
	if err := c.change(l); err != nil {
		return nil, err
	}
	return c, c.command("go", "test", "-modfile="+modfile, "-mod=mod", "-c", "-o", c.tests, "./test").Run()
}

// command returns a command that runs in the copy.
func (c *tree) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = c.dir, os.Stderr
	return cmd
}

// require writes the second go.mod and go.sum.
func (c *tree) require() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(c.dir, "go.sum"))
	if err != nil {
		return err
	}
	more, err := os.ReadFile("go.sum")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, strings.TrimSuffix(modfile, ".mod")+".sum"), append(sums, more...), 0o644); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(c.dir, "go.mod"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, modfile), mod, 0o644); err != nil {
		return err
	}
	return c.command("go", "mod", "edit", "-require="+module+"@v0.0.0", "-replace="+module+"="+root, modfile).Run()
}

// A change replaces text in the files of CoreDNS's directory test/ that match a pattern.
type change struct {
	files, old, new string
	times           int // how often the text is there; 0: at least once
}

// changes hand each Corefile, and each question, to package infront.
var changes = []change{
	{"server.go", `caddy\.Start\(NewInput\(corefile\)\)`, "caddy.Start(NewInput(freshCorefile(corefile)))", 1},
	{"server.go", `corefile: \[\]byte\(corefile\)`, "corefile: []byte(changedCorefile(corefile))", 1},
	{"*_test.go", `\bdns\.Exchange\(`, "exchange(", 0},
	{"*_test.go", `\b(c|cl|client)\.Exchange\(`, "askerOf($1).Exchange(", 0},
	{"*_test.go", `(new\(dns\.Client\))\.Exchange\(`, "askerOf($1).Exchange(", 0},
	{"*_test.go", `\((&dns\.Client\{[^}]*\})\)\.Exchange\(`, "askerOf($1).Exchange(", 0},
}

// change makes the changes, and adds two files to the tests.
func (c *tree) change(l lists) error {
	for _, ch := range changes {
		if err := ch.in(filepath.Join(c.dir, "test")); err != nil {
			return err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "package test\n\nimport (\n\t%q\n", module+"/e2e/coredns/infront")
	for _, name := range l.own {
		fmt.Fprintf(&b, "\t_ %q\n", module+"/plugin/"+name)
	}
	b.WriteString(")\n\nvar (\n\tfreshCorefile, changedCorefile = infront.Fresh, infront.Again\n\texchange, askerOf = infront.Exchange, infront.Of\n)\n")
	if err := os.WriteFile(filepath.Join(c.dir, "test", "infront.go"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	main := fmt.Sprintf("package test\n\nimport (\n\t\"os\"\n\t\"testing\"\n\n\t%q\n)\n\nfunc TestMain(m *testing.M) { os.Exit(infront.Main(m.Run)) }\n",
		module+"/e2e/coredns/infront")
	return os.WriteFile(filepath.Join(c.dir, "test", "infront_test.go"), []byte(main), 0o644)
}

func (ch change) in(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, ch.files))
	if err != nil {
		return err
	}
	old, found := regexp.MustCompile(ch.old), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found += len(old.FindAll(text, -1))
		if changed := old.ReplaceAll(text, []byte(ch.new)); !bytes.Equal(changed, text) {
			if err := os.WriteFile(file, changed, 0o644); err != nil {
				return err
			}
		}
	}
	if found == 0 || ch.times > 0 && found != ch.times {
		return fmt.Errorf("%s of CoreDNS's tests: %q is there %d times: look at what moved", ch.files, ch.old, found)
	}
	return nil
}
