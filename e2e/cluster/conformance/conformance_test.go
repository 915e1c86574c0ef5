// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestIPTables(t *testing.T) { conform(t, cluster.Mode{Proxy: "iptables"}) }
func TestNFTables(t *testing.T) { conform(t, cluster.Mode{Proxy: "nftables"}) }
func TestIPTablesDualStack(t *testing.T) {
	conform(t, cluster.Mode{Proxy: "iptables", DualStack: true})
}
func TestNFTablesDualStack(t *testing.T) {
	conform(t, cluster.Mode{Proxy: "nftables", DualStack: true})
}

// killEach is the time between two kills.
const killEach = 20 * time.Second

// conform runs the suite on a cluster of its own, without the cache and then with it. The test fails if a test of the suite
// passes without the cache, and not with it.
func conform(t *testing.T, m cluster.Mode) {
	if os.Getenv("CONFORMANCE_RESULTS") == "" && os.Getenv("NODELOCALDNS_E2E") != "required" {
		t.Skip("CONFORMANCE_RESULTS is not set: run make conformance")
	}
	t.Cleanup(func() { writeTable(t) })
	c := cluster.Start(t, m)
	for _, n := range c.Nodes {
		n.Import(t, "agnhost", "glibc-dns-testing")
	}
	c.PublishProxyConfig(t)
	c.InstallClusterDNS(t)
	without := suite{run: Without, focus: chosen, skip: omitted}.tell(t, c)
	if n := without.count()[Passed]; n < fewest {
		t.Fatalf("%d tests passed without the cache, and %d or more should", n, fewest)
	}
	c.Apply(t, c.Render(t))
	rest := append([]string{stubDomain}, omitted...)
	for _, s := range []suite{
		{run: With, focus: chosen, skip: rest},
		{run: Killed, focus: chosen, skip: rest, disturb: kill},
		{run: Updated, focus: chosen, skip: rest, disturb: update},
		{run: Forwarded, focus: []string{stubDomain}},
	} {
		t.Run(s.run, func(t *testing.T) { compare(t, c, s, without) })
	}
}

// compare runs the suite with the cache.
func compare(t *testing.T, c *cluster.Cluster, s suite, without Results) {
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	if s.run == Forwarded {
		forwardAll(t, c)
	}
	expected := Results{}
	for name, r := range without {
		if strings.Contains(name, stubDomain) == (s.run == Forwarded) {
			expected[name] = r
		}
	}
	for _, name := range Worse(expected, s.tell(t, c)) {
		t.Errorf("passes without the cache, and here not: %s", name)
	}
	switch s.run {
	case With:
		for _, n := range c.Nodes {
			if n.Asked(t) == 0 {
				t.Errorf("the cache of %s was not asked", n.Name)
			}
		}
	case Killed: // the kubelet waits longer before each restart of a container, and new pods are started at once
		c.Kubectl(t, "-n", "kube-system", "delete", "pods", "-l", "k8s-app=node-local-dns")
	}
}

// forwardAll has the caches ask the cluster DNS for all names, by the change of the template in docs/operations.md. The change
// takes effect by itself, within the two minutes that the test allows.
func forwardAll(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	template := c.Kubectl(t, "-n", "kube-system", "get", "configmap", "node-local-dns", "-o", "jsonpath={.data.Corefile}")
	for old, text := range map[string]string{
		"forward . __PILLAR__UPSTREAM__SERVERS__": "forward . __PILLAR__CLUSTER__DNS__",
		"serve_stale_policy prefer_positive":      "",
	} {
		if strings.Count(template, old) != 1 {
			t.Fatalf("not exactly one %q in\n%s", old, template)
		}
		template = strings.Replace(template, old, text, 1)
	}
	c.Apply(t, c.KubectlIn(t, template, "-n", "kube-system", "create", "configmap", "node-local-dns",
		"--from-file=Corefile=/dev/stdin", "--dry-run=client", "-o", "yaml"))
}

// writeTable writes the table of all results that there are, also into the document if there is to be one.
func writeTable(t *testing.T) {
	dir := os.Getenv("CONFORMANCE_RESULTS")
	all, err := ReadAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "table.md"), []byte(all.Table()), 0o644); err != nil {
		t.Fatal(err)
	}
	document := os.Getenv("CONFORMANCE_DOCUMENT")
	if document == "" {
		return
	}
	if err := output.Insert(document, tableBegin, tableEnd, all.Table()); err != nil {
		t.Fatal(err)
	}
}

// kill kills a cache every 20 s, on one node after the other, until the suite is over. The kubelet waits longer before each
// restart of a container. A pod that waits is deleted, and the new one is started at once.
func kill(t *testing.T, c *cluster.Cluster, over <-chan struct{}) (kills int) {
	tick := time.NewTicker(killEach)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-over:
			return kills
		case <-tick.C:
		}
		n := c.Nodes[i%len(c.Nodes)]
		cache, err := cacheOf(c, n)
		if err != nil {
			t.Error(err)
			return kills
		}
		if _, err := n.Try("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", cache.container); err == nil {
			kills++
		} else if out, err := c.TryKubectl("", "-n", "kube-system", "delete", "pod", cache.pod, "--wait=false"); err != nil {
			t.Errorf("deleting %s, which waits: %v\n%s", cache.pod, err, out)
		}
	}
}

type cache struct{ pod, container string }

// cacheOf finds the pod and the container of a node's cache. While a pod has none, container is empty.
func cacheOf(c *cluster.Cluster, n *cluster.Node) (cache, error) {
	out, err := c.TryKubectl("", "-n", "kube-system", "get", "pods", "-l", "k8s-app=node-local-dns", "--field-selector=spec.nodeName="+n.Name,
		"-o", "jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].containerID}")
	if err != nil {
		return cache{}, fmt.Errorf("looking for the cache of %s: %w\n%s", n.Name, err, out)
	}
	pod, id, _ := strings.Cut(out, " ")
	return cache{pod, strings.TrimPrefix(id, "containerd://")}, nil
}

// update replaces the caches of all nodes, one after the other, again and again until the suite is over.
func update(t *testing.T, c *cluster.Cluster, over <-chan struct{}) (updates int) {
	for {
		for _, args := range [][]string{{"restart"}, {"status", "--timeout=3m"}} {
			command := append([]string{"-n", "kube-system", "rollout", args[0], "daemonset/node-local-dns"}, args[1:]...)
			if out, err := c.TryKubectl("", command...); err != nil {
				t.Errorf("kubectl %v: %v\n%s", command, err, out)
				return updates
			}
		}
		updates++
		select {
		case <-over:
			return updates
		default:
		}
	}
}
