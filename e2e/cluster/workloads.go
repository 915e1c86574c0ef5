// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// manifest is the path of a file or directory of the project's manifests, which are in a directory above the test's.
func manifest(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "manifests", "base")); err == nil {
			return filepath.Join(dir, "manifests", name)
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no directory manifests above the test's: %v", err)
	return ""
}

// upstreamImage is the cluster DNS's image in its manifests; here it is one of ours, with the same program.
var upstreamImage = regexp.MustCompile(`image: registry\.k8s\.io/coredns/coredns:\S+`)

// InstallClusterDNS applies the overlay cluster-dns and waits until both pods serve.
func (c *Cluster) InstallClusterDNS(t testing.TB) {
	t.Helper()
	yaml := c.Kubectl(t, "kustomize", manifest(t, "overlays/cluster-dns"))
	if !upstreamImage.MatchString(yaml) {
		t.Fatalf("no image of CoreDNS in\n%s", yaml)
	}
	yaml = upstreamImage.ReplaceAllString(yaml, "image: e2e.local/clusterdns:1")
	if c.DualStack {
		yaml = regexp.MustCompile(`(?m)^  clusterIP: `+regexp.QuoteMeta(DNSService)+`$`).ReplaceAllString(yaml,
			"  clusterIP: "+DNSService+"\n  clusterIPs: ["+DNSService+", "+DNSService6+"]\n  ipFamilyPolicy: RequireDualStack")
	}
	c.Apply(t, yaml)
	c.WaitRollout(t, "deployments", "coredns")
}

// PublishProxyConfig puts kube-proxy's configuration where kubeadm does, which is where people and programs look.
func (c *Cluster) PublishProxyConfig(t testing.TB) {
	t.Helper()
	config := strings.ReplaceAll(strings.TrimSpace(c.Nodes[0].proxyConfig()), "\n", "\n    ")
	c.Apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata:\n  config.conf: |\n    "+config+"\n")
}

// Render is what the program under test makes of this cluster.
func (c *Cluster) Render(t testing.TB) string {
	t.Helper()
	out, err := c.fabric.Output("", "env", "PATH="+filepath.Dir(Binary("kubectl"))+":"+os.Getenv("PATH"),
		harness.NodeLocalDNS(t), "render", "manifests", "--kubeconfig", c.pki.Path("admin.kubeconfig"))
	if err != nil {
		t.Fatalf("render manifests: %v\n%s", err, out)
	}
	_, yaml, found := strings.Cut(out, "# SPDX")
	if !found {
		t.Fatalf("render manifests printed\n%s", out)
	}
	return "# SPDX" + yaml
}

// WaitRollout waits until a workload of kube-system runs as it was last applied: all pods new, and ready.
func (c *Cluster) WaitRollout(t testing.TB, kind, name string) time.Duration {
	t.Helper()
	return harness.Until(t, time.Minute, "rollout of "+name, func() error { return c.rolledOut(kind, name) })
}

func (c *Cluster) rolledOut(kind, name string) error {
	var w struct {
		Metadata struct{ Generation int }
		Spec     struct{ Replicas int }
		Status   struct {
			ObservedGeneration                                          int
			Replicas, UpdatedReplicas, ReadyReplicas                    int // of a Deployment
			DesiredNumberScheduled, UpdatedNumberScheduled, NumberReady int // of a DaemonSet
			NumberAvailable                                             int // of a DaemonSet
		}
	}
	if err := c.api.get("/apis/apps/v1/namespaces/kube-system/"+kind+"/"+name, &w); err != nil {
		return err
	}
	s := w.Status
	done := s.ObservedGeneration == w.Metadata.Generation
	if kind == "daemonsets" {
		done = done && s.DesiredNumberScheduled == nodes && s.UpdatedNumberScheduled == nodes && s.NumberReady == nodes &&
			s.NumberAvailable == nodes
	} else {
		done = done && s.Replicas == w.Spec.Replicas && s.UpdatedReplicas == w.Spec.Replicas && s.ReadyReplicas == w.Spec.Replicas
	}
	if !done {
		return fmt.Errorf("%+v", w)
	}
	return nil
}

// metric is the sum of a cache's series with these labels on one node, 0 if there is none yet.
func (n *Node) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	page, err := n.cluster.fabric.Get(fmt.Sprintf("http://%s:9253/metrics", nodeIP(n.index)))
	if err != nil {
		t.Fatalf("reading the metrics of %s: %v", n.Name, err)
	}
	v, err := process.Metric(page, name, labels...)
	if err != nil {
		return 0
	}
	return v
}

// Asked is the number of queries that the node's cache has answered.
func (n *Node) Asked(t testing.TB) float64 {
	t.Helper()
	return n.metric(t, "coredns_dns_requests_total")
}
