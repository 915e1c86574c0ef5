// SPDX-License-Identifier: Apache-2.0

package cluster

import "testing"

// linkLocalPod is a pod that names the cache's own address as its nameserver.
func linkLocalPod(t *testing.T, c *Cluster) {
	for i, n := range c.Nodes {
		p := c.StartPod(t, PodSpec{Name: "link-local-" + n.Name, Node: n, Nameserver: LinkLocal, Searches: []string{"svc.cluster.local"}})
		own, others := n.asked(t), c.Nodes[1-i].asked(t)
		for range 10 {
			if addrs, err := p.Lookup("kubernetes.default"); err != nil || len(addrs) == 0 {
				t.Fatalf("%s: %v, %v", p.Name, addrs, err)
			}
		}
		if got := n.asked(t) - own; got < 20 {
			t.Errorf("10 look-ups of %s, each of A and AAAA: %v queries came to its node's cache", p.Name, got)
		}
		if got := c.Nodes[1-i].asked(t) - others; got != 0 {
			t.Errorf("10 look-ups of %s: %v queries came to the other node's cache", p.Name, got)
		}
	}
}
