// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace moves the test, and the processes that it starts, to a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestRunForeseesAuto has the table while -localip auto waits for kube-proxy, and after it has failed.
func TestRunForeseesAuto(t *testing.T) {
	const target = "ip daddr set 10.96.0.11"
	inNamespace(t)
	waits := &process{Cmd: program(t, "-localip", "auto", "-metrics-listen-address=")}
	waits.Env = append(waits.Env, "KUBE_DNS_SERVICE_HOST=10.96.0.11")
	waits.Stdout, waits.Stderr = waits, waits
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line", func() bool { return waits.said("Waiting up to 10s for kube-proxy") })
	if out := ruleset(t); !strings.Contains(out, target) {
		t.Errorf("no table while it waits:\n%s", out)
	}
	waits.stop(t, syscall.SIGKILL)
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	fails := program(t, "-localip", "auto", "-fallback", "10.96.0.11")
	fails.Env = append(fails.Env, "KUBE_DNS_SERVICE_HOST=nonsense")
	out, err := fails.CombinedOutput()
	if err == nil {
		t.Fatal("it has not failed")
	}
	contains(t, string(out), "Left on the node: the fallback table", `"nonsense" is not an IP address`)
	if out := ruleset(t); !strings.Contains(out, target) {
		t.Errorf("no table after it has failed:\n%s", out)
	}
}
