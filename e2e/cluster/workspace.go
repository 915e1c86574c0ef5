// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// require skips the test where a cluster cannot run, or fails it where the environment says that it has to.
func require(t testing.TB) {
	t.Helper()
	harness.Require(t)
	missing := ""
	if os.Getenv("CLUSTER_BIN") == "" {
		missing = "CLUSTER_BIN is not set: run make e2e"
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool + " is not installed"
		}
	}
	switch {
	case missing == "":
	case os.Getenv("NODELOCALDNS_E2E") == "required":
		t.Fatalf("NODELOCALDNS_E2E=required, but %s", missing)
	default:
		t.Skip(missing)
	}
}

// workspace makes the cluster's directory, and starts a janitor that removes it, and the cgroups, when the test process has
// ended, however it ended.
func workspace(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		t.Fatal(err)
	}
	janitor := exec.Command(Binary("node"), "janitor", dir, name)
	janitor.Stderr = os.Stderr
	janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt of the tests' terminal is not for it
	in, err := janitor.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := janitor.Start(); err != nil {
		t.Fatalf("starting the janitor: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := janitor.Wait(); err != nil {
			t.Errorf("cleaning up after the cluster: %v", err)
		}
	})
	return dir
}
