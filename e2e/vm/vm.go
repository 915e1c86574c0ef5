// SPDX-License-Identifier: Apache-2.0

// Package vm runs tests on other kernels than the host's: in a virtual machine with Debian's, in software emulation. A
// machine is made for one job, has nothing but memory, and starts in some seconds.
package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
	"github.com/nodelocaldns/nodelocaldns/e2e/vm/protocol"
)

// A Machine is a kernel and what is beside it.
type Machine struct {
	Without []string // patterns of the names of modules that it lacks
	Timeout time.Duration
	Beside  *netns.Namespace // if set, the machine's link eth0 leads there: see host. Else it has none
}

// Job is a program of the host that the machine runs, with the files that it needs, by their paths in the machine.
type Job struct {
	Program string
	Files   map[string]string
	Dir     string
	Args    []string
	Env     []string
}

// node is the job of running tests of e2e.
func node(t testing.TB, pattern string) Job {
	t.Helper()
	return Job{
		Program: required(t, "VM_E2E_TEST"),
		Files:   map[string]string{"/job/stock": required(t, "STOCK_BIN"), "/job/nodelocaldns": required(t, "NODELOCALDNS_BIN")},
		Dir:     "/job",
		Args:    []string{"-test.v", "-test.run", pattern},
		Env:     []string{"STOCK_BIN=/job/stock", "NODELOCALDNS_BIN=/job/nodelocaldns"},
	}
}

// cpu has what Go and the kernel want, and nothing that costs emulation more than it saves.
const cpu = "Nehalem,+rdrand"

// programs are what the tests and the programs under test run.
var programs = []string{
	"sh", "env", "setpriv", "modprobe", "ip", "nft", "conntrack", "ipset",
	"xtables-nft-multi", "xtables-legacy-multi",
	"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
	"iptables-nft", "iptables-nft-save", "iptables-nft-restore", "ip6tables-nft", "ip6tables-nft-save", "ip6tables-nft-restore",
	"iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore",
	"ip6tables-legacy", "ip6tables-legacy-save", "ip6tables-legacy-restore",
}

// Run starts the machine and waits for the end of its job. It returns what that printed and its exit code.
func (m Machine) Run(t testing.TB, job Job) (output []string, code int) {
	t.Helper()
	dir := t.TempDir()
	kernel := required(t, "VM_KERNEL")
	m.pack(t, kernel, filepath.Join(dir, "initramfs"), job)
	console := filepath.Join(dir, "console")
	images, err := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("%s: want one kernel, found %v, %v", kernel, images, err)
	}
	from, network := netns.Here("the host"), []string(nil)
	if m.Beside != nil {
		from, network = m.Beside, []string{"-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=",
			"-smp", "2"} // kube-proxy needs the second processor
	}
	p := process.Start(t, from, process.Command{
		Path: harness.Which(t, "qemu-system-x86_64"), Env: os.Environ(),
		Args: append([]string{
			"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", cpu, "-m", "1536",
			"-display", "none", "-no-reboot", "-nodefaults", "-serial", "file:" + console, "-serial", "file:/dev/stdout",
			"-kernel", images[0], "-initrd", filepath.Join(dir, "initramfs"),
			"-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on net.ifnames=0 tsc=reliable",
		}, network...),
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the job printed:\n%s", p.Output())
		}
	})
	p.Wait(t, m.Timeout)
	output = strings.Split(p.Output(), "\n")
	for i, line := range output {
		if rest, ok := strings.CutPrefix(line, protocol.Ended); ok {
			if _, err := fmt.Sscan(rest, &code); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return output[:i], code
		}
	}
	said, _ := os.ReadFile(console) // for the message only
	t.Fatalf("the machine ended without its job's result; its console:\n%s", said)
	return nil, 0
}

// pack writes the machine's root file system.
func (m Machine) pack(t testing.TB, kernel, path string, job Job) {
	t.Helper()
	tree := newTree()
	for _, name := range programs {
		if err := tree.program(name); err != nil {
			t.Fatalf("packing %s: %v", name, err)
		}
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil || len(extensions) == 0 {
		t.Fatalf("looking for the extensions of iptables: %v", err)
	}
	for _, e := range extensions {
		if err := tree.withLibraries(e); err != nil {
			t.Fatalf("packing %s: %v", e, err)
		}
	}
	tree.modules(t, kernel, m.Without)
	files := map[string]string{"/init": required(t, "VM_INIT"), "/job/program": job.Program, "/etc/protocols": "/etc/protocols"}
	for path, host := range job.Files {
		files[path] = host
	}
	for path, host := range files {
		if err := tree.add(path, host); err != nil {
			t.Fatalf("packing %s: %v", host, err)
		}
	}
	tree.job(t, protocol.Job{Path: "/job/program", Args: job.Args, Env: job.Env, Dir: job.Dir})
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := tree.write(out); err != nil {
		t.Fatal(err)
	}
}

func (t *tree) job(tb testing.TB, j protocol.Job) {
	tb.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		tb.Fatal(err)
	}
	t.text(protocol.File, string(text))
}

// add copies a file or a whole directory.
func (t *tree) add(path, host string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.copyAll(path, host)
	}
	return t.copy(path, host)
}

// required is a variable that hack/e2e-vm.sh sets.
func required(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: run hack/e2e-vm.sh", variable)
	}
	return value
}
