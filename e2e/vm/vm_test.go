// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
)

// TestHostnet runs the tests of internal/hostnet and of the packages below it.
func TestHostnet(t *testing.T) {
	t.Parallel()
	programs, err := filepath.Glob(filepath.Join(required(t, "VM_HOSTNET_TESTS"), "*.test"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("%q, %v", programs, err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "all")
	script := "#!" + shell + "\ncode=0\n"
	files := map[string]string{"/docs/design.md": "../../docs/design.md"} // as internal/hostnet finds it
	for _, program := range programs {
		name := strings.TrimSuffix(filepath.Base(program), ".test")
		dir := "/job/" + name
		script += "cd " + dir + " && ./test -test.v || code=1\n"
		files[dir+"/test"] = program
		for _, testdata := range []string{"../../internal/hostnet/" + name + "/testdata", "../../internal/" + name + "/testdata"} {
			if exists(testdata) {
				files[dir+"/testdata"] = testdata
			}
		}
	}
	if err := os.WriteFile(all, []byte(script+"exit $code\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	passes(t, Machine{Timeout: 5 * time.Minute}, Job{Program: all, Dir: "/job", Files: files})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// passes runs a test program in a machine. All of its tests must pass and none may be skipped.
func passes(t *testing.T, m Machine, job Job) {
	t.Helper()
	job.Env = append([]string{"NODELOCALDNS_E2E=required", "NODELOCALDNS_KERNEL=complete", "NODELOCALDNS_EMULATED=1"}, job.Env...)
	output, code := m.Run(t, job)
	ran := 0
	for _, line := range output {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "--- PASS"):
			ran++
			t.Log(line)
		case strings.Contains(line, "every 20 ms"), strings.Contains(line, "changed its mode"): // figures of docs/operations.md
			t.Log(line)
		case strings.HasPrefix(line, "--- SKIP"):
			t.Error(line)
		}
	}
	if code != 0 || ran == 0 {
		t.Errorf("%s: exit code %d, %d tests passed", filepath.Base(job.Program), code, ran)
	}
}

// usual has the cells that there is time for in eight minutes. With VM_ALL in the environment all are told, in fifteen.
var usual = map[string]string{
	"TestMatrix/dummy": "/^(iptables-legacy|nftables)$",
	"TestMatrix/tun":   "/^nftables$",
	"TestIPVS":         "/^nftables$/^(serve|start_and_stop|kill_-9|hang)$",
}

// told is the pattern of a test of e2e with the usual backends, or with all.
func told(name string) string {
	pattern := "^" + name + "$"
	if os.Getenv("VM_ALL") == "" {
		pattern += usual[name]
	}
	return pattern
}

// TestMatrix lets everything happen to a cache, with each kind of link and each backend.
func TestMatrix(t *testing.T) {
	for _, link := range []string{"tun", "dummy"} {
		t.Run(link, func(t *testing.T) {
			t.Parallel()
			passes(t, Machine{Timeout: 12 * time.Minute}, node(t, told("TestMatrix/"+link)))
		})
	}
}

// TestIPVS is the same where Kubernetes' own kube-proxy runs in IPVS mode, and what is told of such a node alone.
func TestIPVS(t *testing.T) {
	t.Parallel()
	c := startControlPlane(t)
	for _, name := range []string{"TestIPVS", "TestIPVSNode", "TestIPVSProxy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passes(t, Machine{Timeout: 12 * time.Minute, Beside: c.Namespace}, c.node(t, told(name)))
		})
	}
}

// TestMachine changes what all namespaces of a machine share: the time of day, and how many connections are tracked. Debian's kernel
// has no tcx, so hits in the kernel are asked for in vain.
func TestMachine(t *testing.T) {
	t.Parallel()
	passes(t, Machine{Timeout: 5 * time.Minute}, node(t, "^(TestTimeOfDay|TestConnectionsFull|TestKernelCannot)$"))
}

// TestUplink has pods upon the uplink's own interface, by links that other kernels may lack.
func TestUplink(t *testing.T) {
	t.Parallel()
	passes(t, Machine{Timeout: 4 * time.Minute}, node(t, "TestUplinkShared/ipvlan"))
}

// TestKernels starts a cache on each kernel that lacks something.
func TestKernels(t *testing.T) {
	for _, k := range lab.Kernels[1:] { // the first one lacks nothing
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			job := node(t, "TestKernel$")
			job.Env = append(job.Env, "NODELOCALDNS_KERNEL="+k.Name)
			passes(t, Machine{Without: k.Without, Timeout: 3 * time.Minute}, job)
		})
	}
}
