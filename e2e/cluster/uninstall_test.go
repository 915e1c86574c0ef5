// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// uninstall deletes the cache while pods ask, in the two ways of the documentation, looks what it leaves, and has
// manifests/cleanup remove that too.
func uninstall(t *testing.T, c *Cluster) {
	linkLocal := c.StartPod(t, PodSpec{Name: "link-local", Node: c.Nodes[1], Nameserver: LinkLocal, Searches: []string{"svc.cluster.local"}})
	d := c.startDrill(t)
	d.start(t, linkLocal, loadOfResolvConf)
	if c.DualStack {
		c.Kubectl(t, "-n", "kube-system", "delete", "daemonset", "node-local-dns")
		c.waitGone(t)
		c.KubectlIn(t, c.Render(t), "delete", "-f", "-", "--ignore-not-found")
		expect(t, "uninstall, the DaemonSet first", d.stop(t), 0)
	} else {
		c.Kubectl(t, "delete", "-f", manifest(t, "nodelocaldns.yaml"))
		c.waitGone(t)
		// The Service that misses go to is deleted before the caches that ask it.
		stubs, raw := lookups(d.stop(t))
		expect(t, "uninstall, look-ups", stubs, 0)
		count(t, "uninstall, raw queries", raw)
		expect(t, "uninstall, all that was not lost at one moment", outside(raw, moment(raw)), 0)
	}
	if addrs, err := linkLocal.Lookup("kubernetes.default"); err != nil || len(addrs) == 0 {
		t.Errorf("a pod with the nameserver %s after the uninstall: %v, %v", LinkLocal, addrs, err)
	}
	c.onlyFallbackLeft(t)
	if c.DualStack {
		c.cleanOne(t, c.Nodes[0])
	}
	c.cleanAll(t)
}

// cleanOne takes the fallback table away from one node, with the command of docs/operations.md.
func (c *Cluster) cleanOne(t *testing.T, n *Node) {
	t.Helper()
	c.Kubectl(t, "debug", "node/"+n.Name, "--profile=sysadmin", "--image=ghcr.io/nodelocaldns/nodelocaldns:dev", "--", "/nodelocaldns", "cleanup")
	harness.Until(t, time.Minute, "end of the fallback table", func() error {
		if len(n.leftovers(t)) > 0 {
			return errStillThere
		}
		return nil
	})
}

// onlyFallbackLeft looks for what an uninstalled cache leaves on the nodes.
func (c *Cluster) onlyFallbackLeft(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		left := n.leftovers(t)
		if len(left) == 0 || slices.ContainsFunc(left, func(s string) bool { return !strings.HasSuffix(s, "nodelocaldns_fallback") }) {
			t.Errorf("left on %s, where the fallback table stays and nothing else: %q", n.Name, left)
		}
	}
}

// cleanAll has manifests/cleanup remove the rest.
func (c *Cluster) cleanAll(t *testing.T) {
	t.Helper()
	c.Kubectl(t, "apply", "-k", manifest(t, "cleanup"))
	c.WaitRollout(t, "daemonsets", "node-local-dns-cleanup")
	c.Kubectl(t, "delete", "-k", manifest(t, "cleanup"))
	for _, n := range c.Nodes {
		if left := n.leftovers(t); len(left) != 0 {
			t.Errorf("left on %s after the cleanup: %q", n.Name, left)
		}
	}
}

// waitGone waits until the caches have ended.
func (c *Cluster) waitGone(t *testing.T) {
	t.Helper()
	harness.Until(t, time.Minute, "end of the caches", func() error {
		pods, err := c.pods("kube-system", "k8s-app=node-local-dns")
		if err == nil && len(pods) > 0 {
			err = errStillThere
		}
		return err
	})
}

// leftovers lists what a cache makes on a node: links, chains, tables.
func (n *Node) leftovers(t *testing.T) (left []string) {
	t.Helper()
	for _, command := range [][]string{
		{"ip", "-o", "link"}, {"ip", "-o", "addr"}, {"nft", "list", "tables"}, {"iptables-nft-save"}, {"ip6tables-nft-save"},
	} {
		for _, line := range strings.Split(n.Exec(t, command[0], command[1:]...), "\n") {
			low := strings.ToLower(line)
			if strings.Contains(low, "nodelocal") || strings.Contains(low, LinkLocal) {
				left = append(left, line)
			}
		}
	}
	return left
}
