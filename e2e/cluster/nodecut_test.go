// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// cutTime is how long a node is without its network. Kubernetes notices after 40 s (node-monitor-grace-period); until then
// kube-proxy goes on giving connections to the pods of that node.
const cutTime = 45 * time.Second

// nodeCut takes the network of a node with one of the two pods of the cluster DNS away, as when it loses its power. On the
// other node nobody fails to look a name up, although half of the names are new to the cache.
func nodeCut(t *testing.T, c *Cluster) {
	here, there := c.Nodes[0], c.Nodes[1]
	c.oneClusterDNSPodEach(t)
	d := &drill{cluster: c}
	d.start(t, here.Client, loadOfResolvConf)
	d.start(t, here.HostClient, loadOfResolvConf)
	for _, tcp := range []bool{false, true} {
		for _, interval := range []time.Duration{10 * time.Millisecond, 500 * time.Millisecond} {
			d.start(t, here.Client, protocol.Load{Server: netip.MustParseAddr(DNSService), Timeout: patience, Interval: interval, TCP: tcp})
		}
	}
	d.progress(t)
	c.cable(t, there, netlink.LinkSetDown)
	<-time.After(cutTime) // a part of the story
	reports := d.stop(t)
	c.cable(t, there, netlink.LinkSetUp)
	expect(t, "the network of a node with a pod of the cluster DNS is cut", reports, 0)
	for _, r := range reports {
		if r.Slowest > 500*time.Millisecond+r.Stall {
			t.Errorf("%s: the slowest answer took %s", r.Probe, r.Slowest)
		}
	}
	c.waitReady(t)
	c.WaitRollout(t, "deployments", "coredns")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
}

// cable takes a node's cable out of the fabric, or puts it back.
func (c *Cluster) cable(t *testing.T, n *Node, do func(netlink.Link) error) {
	t.Helper()
	err := c.fabric.Run(func() error {
		link, err := netlink.LinkByName(n.Name)
		if err != nil {
			return err
		}
		return do(link)
	})
	if err != nil {
		t.Fatalf("the cable of %s: %v", n.Name, err)
	}
}

// oneClusterDNSPodEach waits until each node has a pod of the cluster DNS, and moves one if both are on the same node.
func (c *Cluster) oneClusterDNSPodEach(t *testing.T) {
	t.Helper()
	harness.Until(t, 2*time.Minute, "a pod of the cluster DNS on each node", func() error {
		pods, err := c.pods("kube-system", "k8s-app=kube-dns")
		if err != nil {
			return err
		}
		nodes := map[string]bool{}
		for _, p := range pods {
			if p.Metadata.DeletionTimestamp != "" || isTrue(p.Status.Conditions, "Ready") != nil {
				return errStillThere
			}
			nodes[p.Spec.NodeName] = true
		}
		if len(pods) == 2 && len(nodes) == 1 { // preferred, not required, by the deployment's anti-affinity
			c.Kubectl(t, "-n", "kube-system", "delete", "pod", pods[0].Metadata.Name, "--wait=true")
		}
		if len(pods) != 2 || len(nodes) != 2 {
			return fmt.Errorf("%d pods on %d nodes", len(pods), len(nodes))
		}
		return nil
	})
}
