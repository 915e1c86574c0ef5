// SPDX-License-Identifier: Apache-2.0

// Package nettest is for tests that need a network namespace of their own.
package nettest

import (
	"cmp"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

var update = flag.Bool("update", false, "write the golden files")

// InNamespace moves the test's goroutine to a network namespace of its own, which goes with its thread. It skips the test for
// others than root, unless the environment requires the test.
func InNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("NODELOCALDNS_E2E") == "required" {
			t.Fatal("needs root")
		}
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	Command(t, "ip", "link", "set", "lo", "up")
}

// Command runs a command, which must succeed, and returns what it says.
func Command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Golden compares got with testdata/name.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it); got:\n%s", file, got)
	}
}

// Addrs returns the addresses that s names.
func Addrs(s string) []netip.Addr {
	var out []netip.Addr
	for f := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

// Variant puts the iptables commands of a variant, "nft" or "legacy", in front of PATH.
func Variant(t *testing.T, name string) {
	t.Helper()
	path := os.Getenv("PATH")
	t.Setenv("PATH", link(t, name, "")+":"+path)
}

// ToolsOf makes a PATH with nothing but the commands of the variants, "" being plain ones, which are nft's.
func ToolsOf(t *testing.T, variants ...string) {
	t.Helper()
	var dirs []string
	for _, variant := range variants {
		dirs = append(dirs, link(t, cmp.Or(strings.TrimPrefix(variant, "-"), "nft"), variant))
	}
	t.Setenv("PATH", strings.Join(dirs, ":"))
}

// link makes a directory with the iptables commands of a variant, with infix in their names, and a lock of their own.
func link(t *testing.T, variant, infix string) (dir string) {
	t.Helper()
	target, err := exec.LookPath("xtables-" + variant + "-multi")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(target, filepath.Join(dir, name+infix+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock"))
	return dir
}

// RuleLines returns the rules, which have comments, of what nft lists.
func RuleLines(listing string) string {
	var out []string
	for line := range strings.Lines(listing) {
		if line = strings.TrimSpace(line); strings.Contains(line, "comment") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// Try is Command for what this kernel may lack.
func Try(line string) bool {
	args := strings.Fields(line)
	return exec.Command(args[0], args[1:]...).Run() == nil
}

// DefaultRoute has the default route of a family lead out by a link.
func DefaultRoute(t *testing.T, link string, f family.Family) {
	t.Helper()
	Command(t, "ip", "link", "set", link, "up")
	Try("ip link set far up") // the other end of a veth pair
	option, addr, gateway := "-4", "198.51.100.1/24", "198.51.100.2"
	if f == family.IPv6 {
		option, addr, gateway = "-6", "2001:db8::1/64", "2001:db8::2"
	}
	Command(t, "ip", option, "addr", "add", addr, "dev", link)
	Command(t, "ip", option, "route", "replace", "default", "via", gateway, "dev", link, "onlink")
}
