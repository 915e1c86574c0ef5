// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/node/protocol"
)

// Node is one machine of the cluster: namespaces, with a process 1 that does as it is told.
type Node struct {
	Name       string
	index      int
	cluster    *Cluster
	pid        int    // of its process 1, as the machine sees it
	dir        string // for logs, and below it the node's own file system state
	Client     *Pod   // a pod of the DNS policy ClusterFirst, once the tests have started it
	HostClient *Pod   // the same on the host's network, with ClusterFirstWithHostNet
	mu         sync.Mutex
	in         io.WriteCloser
	out        *bufio.Reader
}

// newNode starts a node's process 1 and has it set up the namespaces.
func (c *Cluster) newNode(t testing.TB, i int) *Node {
	t.Helper()
	n := &Node{Name: nodeName(i), index: i, cluster: c, dir: filepath.Join(c.dir, nodeName(i))}
	if err := os.MkdirAll(n.state(""), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.boot(t); err != nil {
		t.Fatalf("starting %s: %v", n.Name, err)
	}
	n.do(t, protocol.Request{SetUp: &protocol.SetUp{
		Hostname: n.Name,
		State:    n.state(""),
		Dirs:     []string{"/var/lib", "/var/log"},
		Copies:   []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"},
		Sysctls: map[string]string{
			"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv6/conf/all/accept_dad": "0",
			"net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1",
		},
		Cgroup: n.cgroup(),
	}})
	return n
}

// state is a path in the node's tmpfs.
func (n *Node) state(file string) string { return filepath.Join(n.dir, "state", file) }

// cgroup is the directory of the node's processes in each hierarchy.
func (n *Node) cgroup() string { return n.cluster.name + "-" + n.Name }

// boot starts process 1. It is a child of the fabric's thread, which lives as long as the test: a child of a thread that
// ends would be killed with it.
func (n *Node) boot(t testing.TB) error {
	cmd := exec.Command(Binary("node"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	log, err := os.Create(filepath.Join(n.dir, "init.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.cluster.fabric.Run(cmd.Start); err != nil {
		return err
	}
	n.pid, n.in, n.out = cmd.Process.Pid, in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close() // it ends, and the kernel ends all that is in its namespace
		_ = cmd.Wait()
	})
	return nil
}

// do tells process 1 something.
func (n *Node) do(t testing.TB, q protocol.Request) {
	t.Helper()
	if err := n.try(q); err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
}

func (n *Node) try(q protocol.Request) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if _, err := n.in.Write(append(line, '\n')); err != nil {
		return err
	}
	said, err := n.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var a protocol.Answer
	if err := json.Unmarshal(said, &a); err != nil || a.Err == "" {
		return err
	}
	return errors.New(a.Err)
}

// run starts a program on the node.
func (n *Node) run(t testing.TB, name, path string, args ...string) {
	t.Helper()
	n.do(t, protocol.Request{Start: &protocol.Start{
		Name: name, Path: path, Args: args, Log: n.log(name),
		Env: []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=/root"},
	}})
}

// log is the path of a program's log.
func (n *Node) log(name string) string { return filepath.Join(n.dir, name+".log") }

// Stop ends one of the node's programs.
func (n *Node) Stop(t testing.TB, name string, sig syscall.Signal) {
	t.Helper()
	n.do(t, protocol.Request{Stop: &protocol.Stop{Name: name, Signal: int(sig)}})
}

// Exec runs a program of the machine in the node's namespaces and returns what it printed; the test fails when it does.
func (n *Node) Exec(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		t.Fatalf("%s: %s %v: %v\n%s", n.Name, name, args, err, out)
	}
	return out
}

// Try is Exec for what may fail.
func (n *Node) Try(name string, args ...string) (string, error) {
	enter := []string{"-t", strconv.Itoa(n.pid), "--net", "--mount", "--pid", "--uts", "--", name}
	return n.cluster.fabric.Output("", "nsenter", append(enter, args...)...)
}
