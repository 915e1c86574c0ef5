// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// testPlugins is a binary that lacks one of CoreDNS's plugins.
var testPlugins = Plugins{
	Known: []string{"nodelocal", "packetcache", "metadata", "reload", "bind", "health", "ready", "prometheus", "errors", "log", "cache", "keep", "hosts",
		"template", "nsid", "loop", "searchpath", "fairshare", "hedge", "forward", "whoami", "chaos", "local", "loadbalance", "shed", "tls", "quic"},
	NotCompiledIn: map[string]string{"trace": "trace:trace"},
}

// writeFile writes a file into dir and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readString(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func split(args string) []string {
	fields := strings.Fields(args)
	for i, f := range fields {
		fields[i] = strings.Trim(f, "'")
	}
	return fields
}

// node is the files and the environment that a Renderer sees.
type node struct {
	dir string
	env map[string]string
}

func newNode(t *testing.T) node {
	n := node{t.TempDir(), map[string]string{"KUBE_DNS_SERVICE_HOST": "10.96.0.10"}}
	writeFile(t, n.dir, "resolv.conf", "nameserver 192.0.2.53\n")
	return n
}

// renderer returns a Renderer for the flags; DIR in them is the node's directory.
func (n node) renderer(t *testing.T, flags string) *Renderer {
	t.Helper()
	o, err := options.Parse(split(strings.ReplaceAll(flags, "DIR", n.dir)))
	if err != nil {
		t.Fatal(err)
	}
	r := New(o, testPlugins)
	r.Getenv = func(name string) string { return n.env[name] }
	r.ResolvConf = filepath.Join(n.dir, "resolv.conf")
	return r
}

const template = `.:53 {
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__UPSTREAM__SERVERS__
}
`
