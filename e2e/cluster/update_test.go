// SPDX-License-Identifier: Apache-2.0

package cluster

import "testing"

// update replaces the caches of all nodes, one after the other, while pods ask. Not one query may fail.
func update(t *testing.T, c *Cluster) {
	d := c.startDrill(t)
	c.Kubectl(t, "-n", "kube-system", "rollout", "restart", "daemonset/node-local-dns")
	took := c.WaitRollout(t, "daemonsets", "node-local-dns")
	expect(t, "rolling update", d.stop(t), 0)
	t.Logf("the update took %s", took)
}
