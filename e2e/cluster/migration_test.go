// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// migration replaces k8s-dns-node-cache in place: the manifest that the cluster has, with another image and not one other
// line. Then our own manifest is put in its place, while pods ask.
func migration(t *testing.T, c *Cluster) {
	for _, n := range c.Nodes {
		n.Import(t, "reference")
	}
	reference := readFile(t, "testdata/reference.yaml")
	c.Apply(t, reference)
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	for _, n := range c.Nodes {
		harness.Until(t, 30*time.Second, "rules of the reference on "+n.Name, func() error { return n.referenceRules(24) })
	}
	ours := strings.Replace(reference, "image: e2e.local/reference:1", "image: ghcr.io/nodelocaldns/nodelocaldns:dev", 1)
	c.Apply(t, ours)
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	c.waitSteering(t) // this manifest has no readiness probe
	for i, n := range c.Nodes {
		if err := n.referenceRules(0); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		if link := n.Exec(t, "ip", "-d", "link", "show", "nodelocaldns"); !strings.Contains(link, "tun type tun") {
			t.Errorf("%s: want a TUN link also without a mount for it:\n%s", n.Name, link)
		}
		servedBy(t, n.Client, n, c.Nodes[1-i], client.Query{Server: client.Port53(netip.MustParseAddr(DNSService))})
	}
	d := c.startDrill(t)
	c.KubectlIn(t, readFile(t, c.singleFile(t)), "replace", "-f", "-")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	expect(t, "our manifest in the place of the reference's", d.stop(t), 0)
}

// waitSteering waits until the caches of all nodes serve kube-dns.
func (c *Cluster) waitSteering(t *testing.T) {
	t.Helper()
	for i, n := range c.Nodes {
		harness.Until(t, 30*time.Second, "steering on "+n.Name, func() error {
			page, err := c.fabric.Get("http://" + nodeIP(i).String() + ":9253/metrics")
			if err != nil {
				return err
			}
			if on, err := process.Metric(page, "coredns_nodelocal_steering", `address="`+DNSService+`"`); err != nil || on != 1 {
				return fmt.Errorf("%v, %v", on, err)
			}
			return nil
		})
	}
}

// referenceRules counts the reference's rules in the built-in chains. Ours are in chains of our own.
func (n *Node) referenceRules(want int) error {
	saved, err := n.Try("iptables-nft-save")
	if err != nil {
		return err
	}
	var found []string
	for _, line := range strings.Split(saved, "\n") {
		if strings.Contains(line, "NodeLocal DNS Cache") && !strings.Contains(line, "NODELOCALDNS") {
			found = append(found, line)
		}
	}
	if len(found) != want {
		return fmt.Errorf("%d rules, want %d:\n%s", len(found), want, strings.Join(found, "\n"))
	}
	return nil
}
