// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// node is the files and the environment that a loader sees.
type node struct {
	dir string
	env map[string]string
}

func newNode(t *testing.T) node {
	n := node{t.TempDir(), map[string]string{"KUBE_DNS_SERVICE_HOST": "10.96.0.10"}}
	writeFile(t, n.dir, "resolv.conf", "nameserver 192.0.2.53\n")
	return n
}

// loader returns a loader for the flags; DIR in them is the node's directory.
func (n node) loader(t *testing.T, flags string) *loader {
	t.Helper()
	o, err := options.Parse(split(strings.ReplaceAll(flags, "DIR", n.dir)))
	if err != nil {
		t.Fatal(err)
	}
	l := newLoader(o)
	l.Getenv = func(name string) string { return n.env[name] }
	l.ResolvConf = filepath.Join(n.dir, "resolv.conf")
	return l
}

func split(args string) []string {
	fields := strings.Fields(args)
	for i, f := range fields {
		fields[i] = strings.Trim(f, "'")
	}
	return fields
}

const template = `.:53 {
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__UPSTREAM__SERVERS__
}
`

// TestReload breaks and mends the template under a running server.
func TestReload(t *testing.T) {
	n, logs := newNode(t), captureLogs(t)
	path := writeFile(t, n.dir, "Corefile.base", template)
	out := filepath.Join(n.dir, "Corefile")
	l := n.loader(t, "-localip 10.0.0.1 -basecorefile DIR/Corefile.base -conf DIR/Corefile")
	load := func() (string, error) {
		input, err := l.reload(rendering.ServerType)
		if err != nil {
			return "", err
		}
		return string(input.Body()), nil
	}
	good, err := load()
	if err != nil || logs.take() != "" {
		t.Fatal(err)
	}
	if got, want := readString(t, out), good+copyMark; got != want {
		t.Errorf("-conf has:\n%s\nwant:\n%s", got, want)
	}
	for _, broken := range []string{".:53 {\n", ".:53 {\n    nothing\n}\n"} {
		writeFile(t, n.dir, "Corefile.base", broken)
		errors := nodelocal.ConfigReloads.WithLabelValues("error")
		var n int
		if m := counted(t, reloadFailed, func() { n = counted(t, errors, func() { _, err = load() }) }); m != 1 {
			t.Errorf("first load of %q: counted %d times in the reload plugin's metric", broken, m)
		}
		if n != 1 || err == nil {
			t.Errorf("first load of %q: %v, counted %d times", broken, err, n)
		}
		contains(t, logs.take(), "[ERROR] plugin/nodelocal: Keeping the running configuration: "+err.Error()+"\n")
		if n := counted(t, errors, func() { _, err = load() }); n != 0 || err == nil || logs.take() != "" {
			t.Errorf("second load of %q: %v, counted %d times, or logged", broken, err, n)
		}
	}
	if got := readString(t, out); got != good+copyMark {
		t.Errorf("-conf was overwritten: %s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := load(); err == nil {
		t.Error("no error although the template is gone")
	}
	logs.take()
	writeFile(t, n.dir, "Corefile.base", template)
	if got, err := load(); err != nil || got != good {
		t.Errorf("got %q, %v", got, err)
	}
	if got := logs.take(); got != "[INFO] plugin/nodelocal: Configuration is valid again\n" {
		t.Errorf("logged %q", got)
	}
}

func TestWarnedOnce(t *testing.T) {
	n, logs := newNode(t), captureLogs(t)
	delete(n.env, "KUBE_DNS_SERVICE_HOST")
	writeFile(t, n.dir, "Corefile.base", template)
	l := n.loader(t, "-localip 169.254.20.10 -basecorefile DIR/Corefile.base")
	for range 3 {
		if _, err := l.reload(rendering.ServerType); err != nil {
			t.Fatal(err)
		}
	}
	if got := logs.take(); strings.Count(got, "No fallback") != 1 {
		t.Errorf("logged:\n%s", got)
	}
}

const copyMark = "# Rendered by nodelocaldns; what is changed here has no effect.\n"
