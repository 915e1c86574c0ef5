// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// inNamespace moves the test's goroutine to a network namespace of its own,
// which goes with its thread.
func inNamespace(t *testing.T) {
	t.Helper()
	needsRoot(t)
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	command(t, "ip", "link", "set", "lo", "up")
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("NODELOCALDNS_E2E") == "required" {
		t.Fatal("needs root")
	}
	t.Skip("needs root to make network namespaces")
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
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

// eventually waits until ok, for at most a generous bound.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func addrsOf(s string) []netip.Addr {
	var out []netip.Addr
	for f := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func testConfig() Config {
	return Config{
		Interface: DefaultInterface, Link: TUN, Firewall: NFTables, Uplink: UplinkAuto,
		Addresses: addrsOf("169.254.20.10 10.96.0.10 fd00::10 fd00:96::a"),
		Port:      53, HealthPort: 8080, Lease: 3 * time.Second,
		Fallback: addrsOf("10.96.0.11 fd00:96::b"), FallbackZone: DefaultFallbackZone,
	}
}

// ignore is for a Withdraw that need not be told of.
func ignore(error) {}
