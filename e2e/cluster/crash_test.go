// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// cache is the pod of a node's cache.
func (n *Node) cache(t *testing.T) podObject {
	t.Helper()
	var found []podObject
	pods, err := n.cluster.pods("kube-system", "k8s-app=node-local-dns")
	for _, p := range pods {
		if p.Spec.NodeName == n.Name {
			found = append(found, p)
		}
	}
	if err != nil || len(found) != 1 || len(found[0].Status.ContainerStatuses) != 1 {
		t.Fatalf("the cache of %s: %+v, %v", n.Name, found, err)
	}
	return found[0]
}

// container is the ID of the cache's container.
func (p podObject) container() string {
	return strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://")
}

func (p podObject) status() containerStatus { return p.Status.ContainerStatuses[0] }

// waitRestart waits until the cache that was killed is there again and steers.
func (n *Node) waitRestart(t *testing.T, before podObject) podObject {
	t.Helper()
	var after podObject
	harness.Until(t, time.Minute, "restart of the cache of "+n.Name, func() error {
		after = n.cache(t)
		if s := after.status(); s.RestartCount == before.status().RestartCount || !s.Ready {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return after
}

// kill is the drill of the guides to NodeLocal DNSCache, which report minutes without DNS: the container of a node's cache is
// killed while pods resolve every few milliseconds with a single nameserver. What is in flight is lost, and nothing else.
func kill(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	d := c.startDrill(t)
	var kills []client.Window
	for range 2 {
		before := n.cache(t)
		kills = append(kills, n.signal(t, before, "SIGKILL"))
		n.waitRestart(t, before)
	}
	stubs, raw := lookups(d.stop(t))
	count(t, "kill -9, look-ups", stubs)
	count(t, "kill -9, raw queries", raw)
	expect(t, "kill -9, all that was not in flight", outside(append(stubs, raw...), kills...), 0)
}

// signal sends a signal to the process of a node's cache. The window is the time in which that may have had its effect.
func (n *Node) signal(t *testing.T, cache podObject, signal string) client.Window {
	t.Helper()
	begin := time.Now()
	n.Exec(t, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal="+signal, cache.container())
	return client.Window{Begin: begin.Add(-inFlight), End: time.Now().Add(inFlight)}
}

// replaceCache deletes the pod of a node's cache and waits until it has gone and the next one is ready.
func (n *Node) replaceCache(t *testing.T) {
	t.Helper()
	before := n.cache(t).Metadata.Name
	n.cluster.Kubectl(t, "-n", "kube-system", "delete", "pod", before, "--wait=false")
	harness.Until(t, time.Minute, "a new cache on "+n.Name, func() error {
		pods, err := n.cluster.pods("kube-system", "k8s-app=node-local-dns")
		pods = slices.DeleteFunc(pods, func(p podObject) bool { return p.Spec.NodeName != n.Name })
		if len(pods) == 1 && pods[0].Metadata.Name != before && isTrue(pods[0].Status.Conditions, "Ready") == nil {
			return nil
		}
		return fmt.Errorf("%+v, %v", pods, err)
	})
}

// inFlight is how much earlier or later than the command that kills a query may have been sent that is lost by it: kubelet,
// API server and all else share two cores here.
const inFlight = 200 * time.Millisecond

// moment is the second after the first failure. A process at its memory limit struggles for as long before it dies.
func moment(all []client.Report) (w client.Window) {
	for _, r := range all {
		for _, f := range r.Failures {
			if w.Begin.IsZero() || f.At.Before(w.Begin) {
				w.Begin = f.At
			}
		}
	}
	w.End = w.Begin.Add(time.Second)
	return w
}

func in(all []client.Report, w client.Window) (some []client.Report) {
	for _, r := range all {
		some = append(some, r.In(w))
	}
	return some
}

func outside(all []client.Report, windows ...client.Window) (rest []client.Report) {
	for _, r := range all {
		rest = append(rest, r.Outside(windows...))
	}
	return rest
}

// outOfMemory is the same with the kernel's killer, which comes when the container reaches a memory limit.
func outOfMemory(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	before := n.cache(t)
	d := c.startDrill(t)
	n.limitMemory(t, before.container())
	after := n.waitRestart(t, before)
	if last := after.status().LastState.Terminated; last == nil || last.Reason != "OOMKilled" {
		t.Errorf("the cache ended otherwise: %+v", last)
	}
	stubs, raw := lookups(d.stop(t))
	count(t, "out of memory, look-ups", stubs)
	count(t, "out of memory, raw queries", raw)
	all := append(stubs, raw...)
	expect(t, "out of memory, all that was not lost at one moment", outside(all, moment(all)), 0)
}

// limitMemory gives the container no more memory than it has now. That is a limit which the kernel enforces at the next page.
func (n *Node) limitMemory(t *testing.T, container string) {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir("/sys/fs/cgroup/memory/"+n.cgroup(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && filepath.Base(path) == container {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil || len(dirs) != 1 {
		t.Fatalf("looking for the memory cgroup of %s: %v, %v", container, dirs, err)
	}
	harness.Until(t, 10*time.Second, "memory limit", func() error {
		usage, err := strconv.Atoi(strings.TrimSpace(readFile(t, dirs[0]+"/memory.usage_in_bytes")))
		if err != nil {
			return err
		}
		return os.WriteFile(dirs[0]+"/memory.limit_in_bytes", []byte(strconv.Itoa(usage)), 0)
	})
}

// kubeletRestart: the cache does not need the kubelet.
func kubeletRestart(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	before := n.cache(t)
	d := c.startDrill(t)
	n.RestartKubelet(t)
	harness.Until(t, time.Minute, n.Name+" ready again", func() error { return c.nodeReady(n.Name) })
	expect(t, "restart of the kubelet", d.stop(t), 0)
	if after := n.cache(t); after.status().RestartCount != before.status().RestartCount || after.container() != before.container() {
		t.Errorf("the cache was restarted too: %+v", after.status())
	}
}

// drain: a node that is drained keeps its cache, and the pods that stay there their DNS; the cluster DNS moves away.
func drain(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	d := c.startDrill(t)
	c.Kubectl(t, "drain", n.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=k8s-app=kube-dns", "--timeout=90s")
	c.WaitRollout(t, "deployments", "coredns")
	c.Kubectl(t, "uncordon", n.Name)
	stubs, raw := lookups(d.stop(t))
	expect(t, "drain, look-ups", stubs, 0)
	expect(t, "drain, raw queries", raw, 0)
}
