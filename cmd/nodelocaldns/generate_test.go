// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
)

// stock is CoreDNS's own list, before TestMain replaces it.
var stock = slices.Clone(dnsserver.Directives)

const root = "../.."

// generator returns a function that runs the generator in the root of the module, with env added to its environment.
func generator(t *testing.T, env ...string) func(args ...string) (output string, ok bool) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "generate")
	build := exec.Command("go", "build", "-o", bin, "directives_generate.go")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(args ...string) (string, bool) {
		cmd := exec.Command(bin, args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err == nil
	}
}

func TestPluginsCurrent(t *testing.T) {
	generate := generator(t)
	for _, args := range [][]string{{"-check"}, {"-check", "-stock", "-out", "e2e/stock/plugins.go"}} {
		if out, ok := generate(args...); !ok {
			t.Error(out)
		}
	}
}

// TestGeneratorDownloads is make on a new machine: no module is there yet. This machine's stand for the proxy's.
func TestGeneratorDownloads(t *testing.T) {
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	proxy := "file://" + filepath.Join(strings.TrimSpace(string(out)), "cache", "download")
	empty := t.TempDir()
	generate := generator(t, "GOMODCACHE="+empty, "GOPROXY="+proxy, "GOSUMDB=off", "GOFLAGS=-modcacherw")
	if out, ok := generate("-check"); !ok {
		t.Error(out)
	}
	if _, err := os.Stat(filepath.Join(empty, "github.com", "coredns")); err != nil {
		t.Errorf("found CoreDNS elsewhere: %v", err)
	}
}

func TestGenerator(t *testing.T) {
	generate := generator(t)
	dir := t.TempDir()
	tests := []struct{ name, cfg, want string }{
		{"colon", "nodelocal:nodelocal\n\n# no colon\ncache\n", `CFG:4: want NAME:PATH, not "cache"`},
		{"path", "cache:\n", `CFG:1: want NAME:PATH, not "cache:"`},
		{"name", ":cache\n", `CFG:1: want NAME:PATH, not ":cache"`},
		{"space", "cache: cache\n", `CFG:1: want NAME:PATH, not "cache: cache"`},
		{"quote", "cache:a\"b\n", `CFG:1: want NAME:PATH, not "cache:a\"b"`},
		{"twice", "cache:cache\ncache:other\n", `CFG:2: plugin "cache" is listed twice`},
		{"unknown", "cache:chache\n", `CFG:1: no directory plugin/chache, neither here nor in CoreDNS`},
		{"missing file", "", "open CFG: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := filepath.Join(dir, tt.name)
			if tt.cfg != "" {
				writeFile(t, dir, tt.name, tt.cfg)
			}
			got, ok := generate("-cfg", cfg, "-out", filepath.Join(dir, "out.go"))
			if want := "directives_generate: " + strings.ReplaceAll(tt.want, "CFG", cfg) + "\n"; ok || got != want {
				t.Errorf("got  %swant %s", got, want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "out.go")); err == nil {
		t.Error("written in spite of an error")
	}
}

func TestGeneratorResolves(t *testing.T) {
	dir := t.TempDir()
	cfg := writeFile(t, dir, "plugin.cfg", "nodelocal:nodelocal\nprometheus:metrics\nmine:example.org/my-plugin\n")
	out := filepath.Join(dir, "out.go")
	generate := generator(t)
	if msg, ok := generate("-cfg", cfg, "-out", out); !ok {
		t.Fatal(msg)
	}
	contains(t, readString(t, out),
		"\t_ \"example.org/my-plugin\"\n\t_ \"github.com/coredns/coredns/plugin/metrics\"\n\t_ \"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal\"\n",
		"= []string{\n\t\"nodelocal\", \"prometheus\", \"mine\",\n}", `"trace": "trace:trace",`)
	if msg, ok := generate("-cfg", cfg, "-out", out, "-check"); !ok {
		t.Error(msg)
	}
	stock := filepath.Join(dir, "stock.go")
	if msg, ok := generate("-cfg", cfg, "-out", stock, "-stock"); !ok {
		t.Fatal(msg)
	}
	if got := readString(t, stock); strings.Count(got, "\t_ ") != 1 || !strings.HasSuffix(got, "import (\n\t_ \"github.com/coredns/coredns/plugin/metrics\"\n)\n") {
		t.Errorf("stock:\n%s", got)
	}
	writeFile(t, dir, "plugin.cfg", "nodelocal:nodelocal\n")
	if msg, ok := generate("-cfg", cfg, "-out", out, "-check"); ok || !strings.Contains(msg, "run go generate") {
		t.Errorf("stale file: %s", msg)
	}
}

// TestDirectives compares with CoreDNS: two of ours come first, the rest is in its order, and our others are where misses pass.
func TestDirectives(t *testing.T) {
	first, among := []string{"nodelocal", "packetcache"}, []string{"keep", "searchpath", "fairshare", "hedge"}
	if !slices.Equal(directives[:len(first)], first) {
		t.Errorf("%s come first, want %s", directives[:len(first)], first)
	}
	for _, order := range [][]string{{"cache", "keep", "header"}, {"loop", "searchpath", "fairshare", "hedge", "forward"}} {
		if at := slices.Index(directives, order[0]); !slices.Equal(directives[at:at+len(order)], order) {
			t.Errorf("want %s in this order", order)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(directives[len(first):]), func(d string) bool { return slices.Contains(among, d) })
	at := -1
	for _, d := range rest {
		i := slices.Index(stock, d)
		if i < at {
			t.Errorf("%s is unknown to CoreDNS, or not in its order", d)
		}
		at = i
	}
	known := slices.Sorted(slices.Values(append(rest, slices.Collect(maps.Keys(notCompiledIn))...)))
	if want := slices.Sorted(slices.Values(stock)); !slices.Equal(known, want) {
		t.Errorf("compiled in or not:\n%v\nCoreDNS has:\n%v", known, want)
	}
}

// TestAddPlugin follows the advice that a Corefile with trace gets.
func TestAddPlugin(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program, with more modules")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, sources{os.DirFS(root)}); err != nil {
		t.Fatal(err)
	}
	cfg := readString(t, filepath.Join(dir, "plugin.cfg"))
	writeFile(t, dir, "plugin.cfg", strings.Replace(cfg, "ready:ready\n", "trace:trace\nready:ready\n", 1))
	build := exec.Command("make", "build")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conf := writeFile(t, dir, "Corefile", ".:53 {\n    trace\n}\n")
	if out, err := exec.Command(filepath.Join(dir, "bin", "nodelocaldns"), "render", "-conf", conf).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
