// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"testing"
)

// A story is one thing that happens to a cluster, and what its pods see of it.
type story struct {
	name string
	tell func(*testing.T, *Cluster)
}

// every is all stories, network those in which kube-proxy's mode matters, few those in which the families do, too. They follow
// each other on one cluster, so their order is part of them.
var (
	few = []story{
		{"Install", install},
		{"Answers", answers},
		{"LinkLocalPod", linkLocalPod},
		{"LinkLocalKill", linkLocalKill},
		{"Kill", kill},
		{"Update", update},
		{"Uninstall", uninstall},
	}
	network = []story{
		{"Manifests", manifests},
		{"Install", install},
		{"Answers", answers},
		{"LinkLocalPod", linkLocalPod},
		{"LinkLocal", linkLocal},
		{"Kill", kill},
		{"OutOfMemory", outOfMemory},
		{"Update", update},
		{"ClusterDNSRollout", clusterDNSRollout},
		{"Uninstall", uninstall},
	}
	every = []story{
		{"Manifests", manifests},
		{"Install", install},
		{"Operator", operator},
		{"Answers", answers},
		{"LinkLocalPod", linkLocalPod},
		{"LinkLocal", linkLocal},
		{"Kill", kill},
		{"OutOfMemory", outOfMemory},
		{"BrokenConfig", brokenConfig},
		{"KubeletRestart", kubeletRestart},
		{"Drain", drain},
		{"Update", update},
		{"ClusterDNSRollout", clusterDNSRollout},
		{"NodeCut", nodeCut},
		{"ConfigMaps", configMaps},
		{"Uninstall", uninstall},
		{"Helm", helm},
		{"Migration", migration},
	}
	// inKernel and fewInKernel follow on a cluster without a cache.
	inKernel = []story{
		{"KernelInstall", kernelInstall},
		{"KernelKill", kernelKill},
		{"KernelPolicy", kernelPolicy},
		{"KernelUpdate", kernelUpdate},
		{"KernelUninstall", kernelUninstall},
	}
	fewInKernel = []story{
		{"KernelInstall", kernelInstall},
		{"KernelKill", kernelKill},
		{"KernelUninstall", kernelUninstall},
	}
)

func TestIPTables(t *testing.T) { tell(t, Mode{Proxy: "iptables"}, every) }
func TestNFTables(t *testing.T) { tell(t, Mode{Proxy: "nftables"}, slices.Concat(network, inKernel)) }
func TestIPTablesDualStack(t *testing.T) {
	tell(t, Mode{Proxy: "iptables", DualStack: true}, slices.Concat(few, fewInKernel))
}
func TestNFTablesDualStack(t *testing.T) { tell(t, Mode{Proxy: "nftables", DualStack: true}, few) }

// tell starts a cluster with a cluster DNS and with clients on both nodes, and tells the stories. After one that fails the
// next ones would say little. There is one cluster at a time: with two of them on two cores, clients stood still for a second
// when something happened, and would have told of that.
func tell(t *testing.T, m Mode, stories []story) {
	t.Helper()
	c := Start(t, m)
	t.Cleanup(func() {
		if t.Failed() {
			c.explain(t)
		}
	})
	c.PublishProxyConfig(t)
	c.InstallClusterDNS(t)
	c.startClients(t)
	for _, s := range stories {
		if !t.Run(s.name, func(t *testing.T) { s.tell(t, c) }) {
			return
		}
	}
}

// startClients starts on each node a pod as most are, with the DNS policy ClusterFirst, and one on the host's network.
func (c *Cluster) startClients(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		n.Client = c.StartPod(t, PodSpec{Name: "client-" + n.Name, Node: n})
		n.HostClient = c.StartPod(t, PodSpec{Name: "host-" + n.Name, Node: n, HostNetwork: true})
	}
}

// explain shows what a person would look at.
func (c *Cluster) explain(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"},
		{"-n", "kube-system", "logs", "--prefix", "--tail=30", "-l", "k8s-app=node-local-dns"},
		{"-n", "kube-system", "logs", "--prefix", "--tail=15", "-l", "k8s-app=kube-dns"},
	} {
		out, err := c.TryKubectl("", args...)
		t.Logf("kubectl %v: %v\n%s", args, err, out)
	}
}
