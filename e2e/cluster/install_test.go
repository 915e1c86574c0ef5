// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// install installs the cache as a reader of the documentation does, and looks who answers.
func install(t *testing.T, c *Cluster) {
	c.installCache(t)
	for i, n := range c.Nodes {
		other := c.Nodes[1-i]
		for _, pod := range []*Pod{n.Client, n.HostClient} {
			for _, tcp := range []bool{false, true} {
				servedBy(t, pod, n, other, client.Query{TCP: tcp, Server: client.Port53(netip.MustParseAddr(DNSService))})
			}
			if c.DualStack {
				servedBy(t, pod, n, other, client.Query{Server: client.Port53(netip.MustParseAddr(DNSService6))})
			}
		}
	}
}

// cameTo checks that 20 queries came to the cache of own and not to that of other, since both had the counts of before. Others may ask
// at the same time, so there may be more queries.
func cameTo(t *testing.T, what string, own, other *Node, ownBefore, otherBefore float64) {
	t.Helper()
	here, there := own.Asked(t)-ownBefore, other.Asked(t)-otherBefore
	if here < 20 || there >= 20 {
		t.Errorf("%s: %v came to the cache of %s, and %v to that of %s", what, here, own.Name, there, other.Name)
	}
}

// servedBy asks 20 times and counts the queries in the caches of both nodes.
func servedBy(t *testing.T, pod *Pod, n, other *Node, q client.Query) {
	t.Helper()
	q.Name, q.Type = "kubernetes.default.svc.cluster.local.", dns.TypeA
	own, others := n.Asked(t), other.Asked(t)
	for range 20 {
		msg, err := pod.Ask(q)
		if err != nil || len(msg.Answer) != 1 {
			t.Fatalf("%s asking %s: %v, %v", pod.Name, q.Server, msg, err)
		}
	}
	cameTo(t, fmt.Sprintf("20 queries of %s to %s", pod.Name, q.Server), n, other, own, others)
}

// installCache installs the cache: with one family by the single file and the lines of the Kubernetes guide, with both by
// what render manifests prints.
func (c *Cluster) installCache(t *testing.T) {
	t.Helper()
	if c.DualStack {
		c.Apply(t, c.Render(t))
	} else {
		c.Kubectl(t, "apply", "-f", c.singleFile(t))
	}
	took := c.WaitRollout(t, "daemonsets", "node-local-dns")
	t.Logf("all caches ready after %s", took)
	c.isOn(t)
}

// isOn asks as the README tells a user to.
func (c *Cluster) isOn(t *testing.T) {
	t.Helper()
	c.Kubectl(t, "-n", "kube-system", "rollout", "status", "daemonset/node-local-dns")
	c.Kubectl(t, "-n", "kube-system", "get", "pods", "-l", "k8s-app=node-local-dns", "-o", "wide")
	if log := c.Kubectl(t, "-n", "kube-system", "logs", "-l", "k8s-app=node-local-dns", "--prefix", "--tail=-1"); !strings.Contains(log, "Steering on: ") {
		t.Errorf("the log does not say that steering is on:\n%s", log)
	}
}

// singleFile runs the guide's lines for kube-proxy in iptables mode, word for word, on a copy of the file.
func (c *Cluster) singleFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nodelocaldns.yaml")
	if err := os.WriteFile(file, []byte(readFile(t, manifest(t, "nodelocaldns.yaml"))), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`set -e; cd %s; alias kubectl="%s --kubeconfig %s"; shopt -s expand_aliases
kubedns=$(kubectl get svc kube-dns -n kube-system -o jsonpath={.spec.clusterIP})
domain=cluster.local
localdns=169.254.20.10
sed -i "s/__PILLAR__LOCAL__DNS__/$localdns/g; s/__PILLAR__DNS__DOMAIN__/$domain/g; s/__PILLAR__DNS__SERVER__/$kubedns/g" nodelocaldns.yaml
`, dir, Binary("kubectl"), c.pki.Path("admin.kubeconfig"))
	if out, err := c.fabric.Output("", "bash", "-c", strings.Replace(script, "; shopt", "\nshopt", 1)); err != nil {
		t.Fatalf("running the guide's lines: %v\n%s", err, out)
	}
	return file
}
