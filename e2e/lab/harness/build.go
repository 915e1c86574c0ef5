// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/nodelocaldns/nodelocaldns"

// binaries is the directory that the programs are built into.
var binaries string

// parallel is the number of parallel tests that run at a time. There are more of them than cores, since they mostly wait.
const parallel = "8"

// Main runs the tests of a package. The programs that the tests ask for are built once, into a directory that Main removes.
func Main(m *testing.M) {
	if err := flag.Set("test.parallel", parallel); err != nil { // the command line, parsed later, can override it
		panic(err)
	}
	remove, err := Setup()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	remove()
	os.Exit(code)
}

// Setup makes the directory for the programs. A program that is not a test calls Setup in the place of Main.
func Setup() (remove func(), err error) {
	if binaries, err = os.MkdirTemp("", "nodelocaldns-e2e"); err != nil {
		return nil, err
	}
	remove = func() { os.RemoveAll(binaries) }
	return remove, os.Chmod(binaries, 0o755) // some tests run the programs as another user
}

var (
	stock = sync.OnceValues(func() (string, error) { return build("STOCK_BIN", "e2e/stock") })
	cache = sync.OnceValues(func() (string, error) { return build("NODELOCALDNS_BIN", "cmd/nodelocaldns") })
	old   = sync.OnceValues(func() (string, error) { return build("REFERENCE_BIN", "e2e/cluster/reference") })
	racy  = sync.OnceValues(func() (string, error) { return compile("racy", "cmd/nodelocaldns", "CGO_ENABLED=1", "-race") })
)

// Stock is the path of the stock CoreDNS.
func Stock(t testing.TB) string { return must(t, stock) }

// NodeLocalDNS is the path of the program under test.
func NodeLocalDNS(t testing.TB) string { return must(t, cache) }

// Reference is the path of the program that stands in for k8s-dns-node-cache.
func Reference(t testing.TB) string { return must(t, old) }

// Racy is the path of the program under test, built with the race detector. Without a C compiler it is NodeLocalDNS.
func Racy(t testing.TB) string {
	t.Helper()
	compiler, err := exec.Command("go", "env", "CC").Output()
	if err == nil {
		_, err = exec.LookPath(strings.TrimSpace(string(compiler)))
	}
	if err != nil {
		t.Logf("no C compiler: running without the race detector: %v", err)
		return NodeLocalDNS(t)
	}
	return must(t, racy)
}

func must(t testing.TB, f func() (string, error)) string {
	t.Helper()
	path, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build compiles a program of the module, unless the environment variable has the path of a finished one.
func build(env, pkg string) (string, error) {
	if path := os.Getenv(env); path != "" {
		return path, nil
	}
	return compile(filepath.Base(pkg), pkg, "CGO_ENABLED=0")
}

// compile compiles a program of the module; flags are those of go build.
func compile(name, pkg, cgo string, flags ...string) (string, error) {
	path := filepath.Join(binaries, name)
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{module + "/" + pkg})...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}
