// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// helmLines are the lines of a document that begin with helm, as a reader copies them.
var helmLines = regexp.MustCompile(`(?m)^    (helm (\w+) .*)$`)

// helm installs with Helm and uninstalls, then has the chart take over a release of deliveryhero/node-local-dns while pods ask,
// update it, and uninstall it. The commands are those of the README and of docs/migration.md.
func helm(t *testing.T, c *Cluster) {
	readme, migration := helmCommands(t, "README.md"), helmCommands(t, "docs/migration.md")
	c.helm(t, readme["install"][0])
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	c.servedOnBoth(t)
	c.helm(t, readme["uninstall"][0])
	c.waitGone(t)
	c.onlyFallbackLeft(t)
	c.takeOver(t, migration["upgrade"][0])
	c.updateByHelm(t, migration["upgrade"][1])
	c.uninstallByHelm(t, readme["uninstall"][0])
}

// helmCommands lists a document's lines for Helm by their subcommands.
func helmCommands(t *testing.T, document string) map[string][]string {
	t.Helper()
	commands := map[string][]string{}
	for _, m := range helmLines.FindAllStringSubmatch(readFile(t, "../../"+document), -1) {
		commands[m[2]] = append(commands[m[2]], m[1])
	}
	return commands
}

// helm runs a command line, from the root of the repository.
func (c *Cluster) helm(t *testing.T, command string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	script := "cd " + root + "\n" + command
	out, err := c.fabric.Output("", "env", "PATH="+filepath.Dir(Binary("helm"))+":"+os.Getenv("PATH"), "KUBECONFIG="+c.pki.Path("admin.kubeconfig"),
		"HELM_CACHE_HOME="+t.TempDir(), "bash", "-c", script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func (c *Cluster) servedOnBoth(t *testing.T) {
	t.Helper()
	for i, n := range c.Nodes {
		servedBy(t, n.Client, n, c.Nodes[1-i], client.Query{Server: client.Port53(netip.MustParseAddr(DNSService))})
	}
}

// takeOver upgrades a release of the other chart. The DaemonSet stays and its pods are replaced one by one: the old program leaves
// before the new one comes, since the chart sees whose pods these are. What is on its way to the old program is lost when that ends.
func (c *Cluster) takeOver(t *testing.T, command string) {
	t.Helper()
	for _, n := range c.Nodes {
		n.Import(t, "reference")
	}
	c.helm(t, "helm install node-local-dns e2e/cluster/testdata/node-local-dns -n kube-system --set config.dnsServer="+DNSService+
		",image.repository=e2e.local/reference,image.tag=1")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	for _, n := range c.Nodes {
		harness.Until(t, 30*time.Second, "rules of the reference on "+n.Name, func() error { return n.referenceRules(24) })
	}
	uid := c.daemonSet(t, "{.metadata.uid}")
	d := c.startDrill(t)
	c.helm(t, command+" --set image.repository=registry.k8s.io/dns/k8s-dns-node-cache")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	c.waitSteering(t)
	stubs, raw := lookups(d.stop(t))
	expect(t, "from deliveryhero/node-local-dns, look-ups", stubs, 0)
	count(t, "from deliveryhero/node-local-dns, raw queries", raw)
	first := moment(raw)
	second := moment(outside(raw, first))
	expect(t, "from deliveryhero/node-local-dns, all that was not lost when an old cache ended", outside(raw, first, second), 0)
	if now := c.daemonSet(t, "{.metadata.uid}"); now != uid {
		t.Errorf("the DaemonSet was made again: %s, before %s", now, uid)
	}
	if ports := c.daemonSet(t, "{.spec.template.spec.containers[0].ports}"); ports != "" {
		t.Errorf("ports that the other chart had are left: %s", ports)
	}
	for _, n := range c.Nodes {
		if err := n.referenceRules(0); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
	c.servedOnBoth(t)
}

// daemonSet is a field of the cache's DaemonSet.
func (c *Cluster) daemonSet(t *testing.T, path string) string {
	t.Helper()
	return c.Kubectl(t, "-n", "kube-system", "get", "daemonset", "node-local-dns", "-o", "jsonpath="+path)
}

// updateByHelm is an upgrade with the surge of the chart's own values: no query is lost.
func (c *Cluster) updateByHelm(t *testing.T, command string) {
	t.Helper()
	d := c.startDrill(t)
	c.helm(t, command+" --set podAnnotations.update=second")
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	expect(t, "update by Helm", d.stop(t), 0)
	if surge := c.daemonSet(t, "{.spec.updateStrategy.rollingUpdate.maxSurge}"); surge != "10%" {
		t.Errorf("maxSurge %q", surge)
	}
}

// uninstallByHelm uninstalls while pods ask, and has manifests/cleanup take away what that leaves.
func (c *Cluster) uninstallByHelm(t *testing.T, command string) {
	t.Helper()
	d := c.startDrill(t)
	c.helm(t, command)
	c.waitGone(t)
	// Helm deletes the Service that misses go to before the caches that ask it.
	stubs, raw := lookups(d.stop(t))
	expect(t, "uninstall by Helm, look-ups", stubs, 0)
	count(t, "uninstall by Helm, raw queries", raw)
	expect(t, "uninstall by Helm, all that was not lost at one moment", outside(raw, moment(raw)), 0)
	c.onlyFallbackLeft(t)
	if out := c.Kubectl(t, "get", "all,configmap,serviceaccount", "-A", "-l", "app.kubernetes.io/name=node-local-dns", "-o", "name"); out != "" {
		t.Errorf("objects that are left: %s", out)
	}
	c.cleanAll(t)
}
