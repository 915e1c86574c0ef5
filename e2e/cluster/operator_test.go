// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// operator does with the commands of docs/operations.md what an operator does in the first week: looks whether all is well, finds the
// pod that floods DNS, takes one node out and back, and finds the fault of a template before and after its rollout.
func operator(t *testing.T, c *Cluster) {
	for _, n := range c.Nodes {
		n.waitStatus(t, "All well: ")
	}
	if out, err := c.Nodes[1].inCache(t, "", append([]string{"check", "-node"}, flags...)...); err != nil {
		t.Errorf("check -node in the cache of a healthy node: %v\n%s", err, out)
	}
	c.findFlood(t, c.Nodes[1])
	c.oneNodeOut(t, c.Nodes[1])
	c.findFault(t, c.Nodes[0])
}

// flags are those of the DaemonSet.
var flags = []string{"-localip", LinkLocal + "," + DNSService, "-upstreamsvc", "kube-dns-upstream"}

// inCache runs the program in the pod of a node's cache.
func (n *Node) inCache(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	exec := []string{"-n", "kube-system", "exec", "-i", n.cache(t).Metadata.Name, "--", "/nodelocaldns"}
	return n.cluster.TryKubectl(stdin, append(exec, args...)...)
}

// waitStatus waits until the first line of status begins so. The exit code is 0 if all is well, and else 1, which kubectl passes on.
func (n *Node) waitStatus(t *testing.T, verdict string) {
	t.Helper()
	harness.Until(t, time.Minute, fmt.Sprintf("status of %s: %q", n.Name, verdict), func() error {
		out, err := n.inCache(t, "", "status")
		if !strings.HasPrefix(out, verdict) || (err == nil) != strings.HasPrefix(verdict, "All well") {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// checkNode looks at a node that has no cache, as before a rollout.
func (c *Cluster) checkNode(t *testing.T, n *Node) {
	t.Helper()
	args := []string{"debug", "node/" + n.Name, "--profile=sysadmin", "--image=ghcr.io/nodelocaldns/nodelocaldns:dev", "--", "/nodelocaldns", "check", "-node"}
	said := c.Kubectl(t, slices.Concat(args, flags, []string{"-fallback", DNSService})...)
	pod := regexp.MustCompile(`node-debugger-\S+`).FindString(said)
	harness.Until(t, time.Minute, "end of "+pod, func() error {
		p, err := c.pod("default", pod)
		if err == nil && p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed" {
			err = errStillThere
		}
		return err
	})
	if out := c.Kubectl(t, "logs", pod); !strings.Contains(out, "\n0 findings (") {
		t.Errorf("check -node on a node without a cache:\n%s", out)
	}
	c.Kubectl(t, "delete", "pod", pod, "--wait=false")
}

// findFlood starts a pod that asks for new names, and looks for the pod's address in the pod of the cache and for its name on the node.
func (c *Cluster) findFlood(t *testing.T, n *Node) {
	t.Helper()
	flood := c.StartPod(t, PodSpec{Name: "flood", Node: n})
	load := flood.Start(t, protocol.Load{Server: netip.MustParseAddr(DNSService), Interval: 4 * time.Millisecond})
	defer load.Stop(t)
	busiest := regexp.MustCompile(`(?m)^CLIENT .*\n(\S+)`)
	took := harness.Until(t, 20*time.Second, "top naming "+flood.IP, func() error {
		out, err := n.inCache(t, "", "top", "-once")
		if m := busiest.FindStringSubmatch(out); err == nil && (m == nil || m[1] != flood.IP) {
			err = errors.New(out)
		}
		return err
	})
	t.Logf("top named the pod that floods after %s", took)
	list := c.Kubectl(t, "get", "pods", "-A", "-o", "wide", "--field-selector", "spec.nodeName="+n.Name)
	if !regexp.MustCompile(`(?m)^default +flood .* ` + regexp.QuoteMeta(flood.IP) + ` `).MatchString(list) {
		t.Errorf("the pods of the node do not have %s:\n%s", flood.IP, list)
	}
	out := n.Exec(t, "env", "PATH="+filepath.Dir(Binary("kubectl")), harness.NodeLocalDNS(t), "top", "-once", "-kubeconfig", c.pki.Path("admin.kubeconfig"))
	if !regexp.MustCompile(`(?m)^CLIENT .*\n` + regexp.QuoteMeta(flood.IP) + ` +default/flood `).MatchString(out) {
		t.Errorf("top on the node does not name the pod:\n%s", out)
	}
}

// oneNodeOut takes the cache off a node by the label and puts it back, while clients of the node ask.
func (c *Cluster) oneNodeOut(t *testing.T, n *Node) {
	t.Helper()
	d := c.startDrill(t)
	c.Kubectl(t, "label", "node", n.Name, "node-local-dns/cache=off", "--overwrite")
	harness.Until(t, time.Minute, "a node without the cache", func() error {
		pods, err := c.pods("kube-system", "k8s-app=node-local-dns")
		if err == nil && (len(pods) != 1 || pods[0].Spec.NodeName == n.Name) {
			err = errStillThere
		}
		return err
	})
	if list := c.Kubectl(t, "get", "nodes", "-L", "node-local-dns/cache"); !regexp.MustCompile(`(?m)^` + n.Name + ` .* off$`).MatchString(list) {
		t.Errorf("the list of nodes does not say so:\n%s", list)
	}
	d.progress(t) // the cluster DNS answers
	c.checkNode(t, n)
	c.Kubectl(t, "label", "node", n.Name, "node-local-dns/cache-")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	n.waitStatus(t, "All well: ")
	expect(t, "one node out and back", d.stop(t), 0)
}

// findFault breaks the template: check names the line before, status after the rollout.
func (c *Cluster) findFault(t *testing.T, n *Node) {
	t.Helper()
	good := c.Kubectl(t, "-n", "kube-system", "get", "configmap", "node-local-dns", "-o", "jsonpath={.data.Corefile}")
	broken := strings.Replace(good, brokenAt, brokenAt+brokenLine, 1)
	line := 1 + strings.Count(broken[:strings.Index(broken, brokenLine)], "\n")
	check := func(template string) (string, error) {
		return n.inCache(t, template, slices.Concat([]string{"check"}, flags, []string{"-basecorefile", "/dev/stdin"})...)
	}
	if out, err := check(good); err != nil {
		t.Errorf("check of a good template: %v\n%s", err, out)
	}
	if out, err := check(broken); err == nil || !strings.Contains(out, fmt.Sprintf("/dev/stdin:%d: unknown directive", line)) {
		t.Errorf("check of a template with a fault in line %d: %v\n%s", line, err, out)
	}
	c.editTemplate(t, func(string) string { return broken })
	n.waitStatus(t, "Degraded: the configuration cannot be used")
	if out, _ := n.inCache(t, "", "status"); !strings.Contains(out, fmt.Sprintf("/etc/coredns/Corefile.base:%d: ", line)) {
		t.Errorf("status does not name line %d of the template:\n%s", line, out)
	}
	c.editTemplate(t, func(string) string { return good })
	for _, n := range c.Nodes {
		n.waitStatus(t, "All well: ")
	}
}
