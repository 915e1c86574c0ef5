// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
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
	without := runSuite(t, c, Without, nil)
	if n := without.count()[Passed]; n < fewest {
		t.Fatalf("%d tests passed without the cache, and %d or more should", n, fewest)
	}
	c.Apply(t, c.Render(t))
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	for _, run := range []struct {
		name    string
		disturb func(*testing.T, <-chan struct{}) int
	}{
		{With, nil},
		{Killed, func(t *testing.T, over <-chan struct{}) int { return kill(t, c, over) }},
		{Updated, func(t *testing.T, over <-chan struct{}) int { return update(t, c, over) }},
	} {
		t.Run(run.name, func(t *testing.T) {
			for _, name := range Worse(without, runSuite(t, c, run.name, run.disturb)) {
				t.Errorf("passes without the cache, and here not: %s", name)
			}
			c.WaitRollout(t, "daemonsets", "node-local-dns")
			for _, n := range c.Nodes {
				if n.Asked(t) == 0 {
					t.Errorf("the cache of %s was not asked", n.Name)
				}
			}
		})
	}
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
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	inserted, err := Insert(string(text), all.Table())
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if err := os.WriteFile(document, []byte(inserted), 0o644); err != nil {
		t.Fatal(err)
	}
}

// kill kills a cache every 20 s, on one node after the other, until the suite is over.
func kill(t *testing.T, c *cluster.Cluster, over <-chan struct{}) (kills int) {
	tick := time.NewTicker(killEach)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return kills
		case <-tick.C:
		}
		n := c.Nodes[kills%len(c.Nodes)]
		id, err := c.TryKubectl("", "-n", "kube-system", "get", "pods", "-l", "k8s-app=node-local-dns",
			"--field-selector=spec.nodeName="+n.Name, "-o", "jsonpath={.items[0].status.containerStatuses[0].containerID}")
		if err != nil {
			t.Errorf("looking for the cache of %s: %v\n%s", n.Name, err, id)
			return kills
		}
		id = strings.TrimPrefix(id, "containerd://")
		if out, err := n.Try("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", id); err != nil {
			t.Logf("the cache of %s is not running yet: %v\n%s", n.Name, err, out)
			continue
		}
		kills++
	}
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
