// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// hotLoad asks for one name 200 times a second. Most of the answers come from the kernel.
var hotLoad = protocol.Load{Server: netip.MustParseAddr(DNSService), Timeout: time.Second, Interval: 5 * time.Millisecond, Name: popular}

// kernelInstall installs the cache with the component kernel-hits. The container has the seccomp profile of the container runtime, and
// the program gets into the kernel all the same.
func kernelInstall(t *testing.T, c *Cluster) {
	c.Kubectl(t, "apply", "-k", c.withKernelHits(t))
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	c.isOn(t)
	for _, n := range c.Nodes {
		if status := n.cacheStatus(t); !regexp.MustCompile(`(?m)^Seccomp:\s+2$`).MatchString(status) {
			t.Errorf("the cache of %s runs without a seccomp filter:\n%s", n.Name, status)
		}
	}
	c.kernelAnswers(t)
}

// kernelKill is the story Kill. The kernel detaches the programs of the process that dies, and the next process attaches its own.
func kernelKill(t *testing.T, c *Cluster) {
	kill(t, c)
	c.kernelAnswers(t)
}

// kernelUpdate is the story Update.
func kernelUpdate(t *testing.T, c *Cluster) {
	update(t, c)
	c.kernelAnswers(t)
}

// kernelPolicy denies a pod DNS by iptables rules on its node, as policy engines write them for a NetworkPolicy. The program answers
// before the stack sees a query, so it answers the pod for 5 s (`admit`) after the rules at most. Other pods are answered throughout.
func kernelPolicy(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	pod := c.StartPod(t, PodSpec{Name: "denied", Node: n})
	c.kernelAnswersTo(t, pod)
	others := &drill{cluster: c}
	for _, p := range []*Pod{n.Client, n.HostClient, c.Nodes[0].Client} {
		others.start(t, p, hotLoad)
	}
	denied := pod.Start(t, hotLoad)
	others.progress(t)
	n.denyDNS(t, "-I", pod)
	ruled := time.Now()
	last := lastAnswer(t, denied)
	t.Logf("answered until %s after the rules", last.Sub(ruled).Round(10*time.Millisecond))
	if late := last.Sub(ruled); late > 5500*time.Millisecond { // half a second for a busy machine
		t.Errorf("answered %s after the rules", late)
	}
	if _, err := pod.Lookup("kubernetes.default"); err == nil {
		t.Error("the denied pod resolves a name")
	}
	n.denyDNS(t, "-D", pod)
	allowed := &drill{cluster: c, loads: []*Load{denied}}
	allowed.progress(t)
	denied.Stop(t)
	expect(t, "other pods while one is denied DNS", others.stop(t), 0)
	c.kernelAnswersTo(t, pod)
}

// kernelUninstall deletes what kernelInstall applied.
func kernelUninstall(t *testing.T, c *Cluster) {
	for _, n := range c.Nodes {
		if at := n.tcxPrograms(t); !slices.Contains(at, "cni0") || !slices.Contains(at, "lo") {
			t.Errorf("%s has programs at %q, not at the pods' bridge and at lo", n.Name, at)
		}
	}
	d := c.startDrill(t)
	c.Kubectl(t, "delete", "-k", c.withKernelHits(t))
	c.waitGone(t)
	// The Service that misses go to is deleted before the caches that ask it.
	stubs, raw := lookups(d.stop(t))
	expect(t, "uninstall, look-ups", stubs, 0)
	expect(t, "uninstall, all that was not lost at one moment", outside(raw, moment(raw)), 0)
	for _, n := range c.Nodes {
		if at := n.tcxPrograms(t); len(at) > 0 {
			t.Errorf("%s still has programs at %q", n.Name, at)
		}
	}
	c.onlyFallbackLeft(t)
	c.cleanAll(t)
}

// withKernelHits is a directory with the component kernel-hits, as the component's head says, and the overlay iptables. With both families
// there is what render manifests prints in the overlay's place.
func (c *Cluster) withKernelHits(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	relative := func(name string) string {
		path, err := filepath.Rel(dir, manifest(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	base := relative("overlays/iptables")
	if c.DualStack {
		base = "rendered.yaml"
		if err := os.WriteFile(filepath.Join(dir, base), []byte(c.Render(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	yaml := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%q]\ncomponents: [%q]\n",
		base, relative("components/kernel-hits"))
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kernelAnswers checks that pods and the hosts' own programs are answered in the kernel, on each node.
func (c *Cluster) kernelAnswers(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		c.kernelAnswersTo(t, n.Client)
		c.kernelAnswersTo(t, n.HostClient)
	}
}

// kernelAnswersTo has one client ask, by each family, until its node's cache has counted 100 more hits in the kernel. Nobody else may ask
// meanwhile.
func (c *Cluster) kernelAnswersTo(t *testing.T, p *Pod) {
	t.Helper()
	const hits = "coredns_packetcache_kernel_hits_total"
	loads := []protocol.Load{hotLoad}
	if c.DualStack {
		loads = append(loads, hotLoad)
		loads[1].Server = netip.MustParseAddr(DNSService6)
	}
	for _, load := range loads {
		before := p.Node.metric(t, hits)
		d := &drill{cluster: c}
		d.start(t, p, load)
		harness.Until(t, 20*time.Second, fmt.Sprintf("hits in the kernel of %s at %s", p.Name, load.Server), func() error {
			if grown := p.Node.metric(t, hits) - before; grown < 100 {
				return fmt.Errorf("%g", grown)
			}
			return nil
		})
		expect(t, fmt.Sprintf("%s, answered in the kernel at %s", p.Name, load.Server), d.stop(t), 0)
	}
}

// denyDNS inserts (-I) or deletes (-D) rules that drop a pod's DNS on its node.
func (n *Node) denyDNS(t *testing.T, command string, p *Pod) {
	t.Helper()
	for _, chain := range []string{"INPUT", "FORWARD"} {
		for _, protocol := range []string{"udp", "tcp"} {
			n.Exec(t, "iptables-nft", "-w", command, chain, "-s", p.IP, "-p", protocol, "--dport", "53", "-j", "DROP")
		}
	}
}

// lastAnswer waits until a load has had no answer for 3 s and returns when it had the last one.
func lastAnswer(t *testing.T, l *Load) (last time.Time) {
	t.Helper()
	answered := -1
	harness.Until(t, 30*time.Second, "end of the answers", func() error {
		now := l.SoFar(t).Answered()
		if now != answered {
			answered, last = now, time.Now()
		}
		if age := time.Since(last); age < 3*time.Second {
			return fmt.Errorf("answered %s ago", age)
		}
		return nil
	})
	return last
}

// cacheStatus is the kernel's status of the process of a node's cache.
func (n *Node) cacheStatus(t *testing.T) string {
	t.Helper()
	tasks := n.Exec(t, "ctr", "--namespace=k8s.io", "tasks", "ls")
	id := n.cache(t).container()
	found := regexp.MustCompile(id + `\s+(\d+)`).FindStringSubmatch(tasks)
	if found == nil {
		t.Fatalf("no process of %s on %s:\n%s", id, n.Name, tasks)
	}
	return n.Exec(t, "cat", "/proc/"+found[1]+"/status")
}

// tcxPrograms names the node's interfaces that have a tcx program.
func (n *Node) tcxPrograms(t *testing.T) (at []string) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		failed <- func() error {
			ns, err := netns.GetFromPid(n.pid)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return err
			}
			links, err := netlink.LinkList()
			for _, l := range links {
				programs, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
				if err != nil {
					return fmt.Errorf("asking for the programs at %s: %w", l.Attrs().Name, err)
				}
				if len(programs.Programs) > 0 {
					at = append(at, l.Attrs().Name)
				}
			}
			return err
		}()
	}()
	if err := <-failed; err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	return at
}
