// SPDX-License-Identifier: Apache-2.0

package cluster

import "testing"

// update replaces the caches of all nodes, one after the other, while pods ask. Not one query may fail.
func update(t *testing.T, c *Cluster) {
	// Not within 6 s after a pod became ready: the DaemonSet's controller then looks when that pod has been ready for minReadySeconds,
	// and not again when the new ones have, as its queue keeps only the earlier time.
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	d := c.startDrill(t)
	c.Kubectl(t, "-n", "kube-system", "rollout", "restart", "daemonset/node-local-dns")
	took := c.WaitRollout(t, "daemonsets", "node-local-dns")
	expect(t, "rolling update", d.stop(t), 0)
	t.Logf("the update took %s", took)
}
