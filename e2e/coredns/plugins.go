// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A tally is what became of the tests of one of CoreDNS's plugins, with its packages below.
type tally struct {
	plugin                  string
	passed, skipped, failed []string
	alike                   []string          // those of failed that also fail with CoreDNS's own go.mod
	why                     map[string]string // what a test said last
}

// pluginTests runs the tests of CoreDNS's plugins that are compiled in, with the versions of modules that this repository selects.
func (c *tree) pluginTests(l lists) (all []tally, err error) {
	for _, name := range l.built {
		t, err := c.testPackage(name, "-modfile="+modfile, "-mod=mod")
		if err != nil {
			return nil, err
		}
		if len(t.failed) > 0 {
			stock, err := c.testPackage(name)
			if err != nil {
				return nil, err
			}
			t.alike = slices.DeleteFunc(slices.Clone(t.failed), func(test string) bool { return !slices.Contains(stock.failed, test) })
		}
		all = append(all, t)
		fmt.Printf("plugin/%s: %d passed, %d skipped, failed: %v\n", name, len(t.passed), len(t.skipped), t.failed)
	}
	return all, nil
}

// testPackage runs the tests of one plugin. A test that fails runs again, as in runTest.
func (c *tree) testPackage(name string, flags ...string) (tally, error) {
	t, err := c.testOnce(name, ".", flags)
	for try := 1; err == nil && len(t.failed) > 0 && try < attempts; try++ {
		var again tally
		again, err = c.testOnce(name, "^("+strings.Join(t.failed, "|")+")$", flags)
		t.passed, t.failed = append(t.passed, again.passed...), again.failed
	}
	return t, err
}

func (c *tree) testOnce(name, run string, flags []string) (tally, error) {
	self, err := os.Executable()
	if err != nil {
		return tally{}, err
	}
	args := append([]string{"test", "-json", "-count=1", "-timeout=5m", "-exec", self + " " + insideWord, "-run", run}, flags...)
	out, err := c.command("go", append(args, "./plugin/"+name+"/...")...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return tally{}, fmt.Errorf("running the tests of plugin/%s: %w", name, err)
	}
	return read(name, out)
}

// read reads the output of go test -json. Tests in tests do not count.
func read(name string, out []byte) (tally, error) {
	t := tally{plugin: name, why: map[string]string{}}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var e struct{ Action, Test, Output string }
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return t, nil
		case err != nil:
			return t, fmt.Errorf("reading the outcome of plugin/%s: %w", name, err)
		case e.Action == "build-fail":
			return t, fmt.Errorf("building the tests of plugin/%s fails", name)
		case e.Test == "" || strings.Contains(e.Test, "/") || strings.HasPrefix(e.Test, "Example") || strings.HasPrefix(e.Test, "Fuzz"):
		case e.Action == "output":
			if m := message.FindStringSubmatch(e.Output); m != nil {
				t.why[e.Test] = m[1]
			}
		case e.Action == "pass":
			t.passed = append(t.passed, e.Test)
		case e.Action == "skip":
			t.skipped = append(t.skipped, e.Test)
		case e.Action == "fail":
			t.failed = append(t.failed, e.Test)
		}
	}
}
