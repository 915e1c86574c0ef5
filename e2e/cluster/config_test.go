// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// configMaps changes what the cache is configured by, while it runs and is asked: the kube-dns ConfigMap, which names stub
// domains and upstream nameservers, and the template. Each takes effect within a minute, and no query fails.
func configMaps(t *testing.T, c *Cluster) {
	pod := c.Nodes[0].Client
	resolves := func(name string, want bool) func() error {
		return func() error {
			addrs, err := pod.Lookup(name)
			if got := err == nil && len(addrs) > 0; got != want {
				return fmt.Errorf("%s: %v, %v", name, addrs, err)
			}
			return nil
		}
	}
	seenOutside := func(name string, proto string) func() error {
		return func() error {
			_, _ = pod.Lookup(name) // the question is who is asked, not what is answered
			for _, q := range c.Outside.Seen(name) {
				if q.Source.String() == nodeIP(0).String() && q.Proto == proto {
					return nil
				}
			}
			return fmt.Errorf("%v", c.Outside.Seen(name))
		}
	}
	for _, step := range []struct {
		name   string
		change func()
		effect func() error
	}{
		{"stub domain", func() {
			c.kubeDNSConfig(t, fmt.Sprintf(`stubDomains: '{"corp.cluster.local": [%q], "example.com": [%q]}'`, gateway, gateway))
		}, seenOutside("www.corp.cluster.local.", "udp")},
		{"upstream nameservers", func() {
			c.kubeDNSConfig(t, fmt.Sprintf(`upstreamNameservers: '[%q]'`, gatewayTwo))
		}, func() error {
			addrs, err := pod.Lookup("new-upstream.example.org")
			if !slices.Contains(addrs, outsideIPTwo) {
				return fmt.Errorf("%v, %v", addrs, err)
			}
			return nil
		}},
		{"template", func() { c.editTemplate(t, addZone) }, resolves("extra.test", true)},
		{"template back", func() { c.editTemplate(t, dropZone) }, resolves("extra.test", false)},
	} {
		d := c.startDrill(t)
		step.change()
		took := harness.Until(t, time.Minute, "effect of "+step.name, step.effect)
		reports := d.stop(t)
		udp, tcp := split(reports, func(r client.Report) bool { return !strings.Contains(r.Probe, " tcp ") })
		expect(t, step.name, udp, 0)
		// CoreDNS resets those whose query is still on its way when it stops the old server; see docs/operations.md.
		count(t, step.name+", TCP", tcp)
		expect(t, step.name+", TCP, all that was not lost at one moment", outside(tcp, moment(tcp)), 0)
		t.Logf("%s took effect after %s", step.name, took)
	}
}

func split(all []client.Report, first func(client.Report) bool) (yes, no []client.Report) {
	for _, r := range all {
		if first(r) {
			yes = append(yes, r)
		} else {
			no = append(no, r)
		}
	}
	return yes, no
}

func (c *Cluster) kubeDNSConfig(t *testing.T, data string) {
	t.Helper()
	c.Apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-dns, namespace: kube-system}\ndata:\n  "+data+"\n")
}

const extraZone = `
test:53 {
    errors
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
    hosts {
        192.0.2.1 extra.test
    }
}
`

func addZone(template string) string  { return template + extraZone }
func dropZone(template string) string { return strings.Replace(template, extraZone, "", 1) }

// editTemplate changes the Corefile in the cache's ConfigMap.
func (c *Cluster) editTemplate(t *testing.T, edit func(string) string) {
	t.Helper()
	var config struct{ Data struct{ Corefile string } }
	if err := c.api.get("/api/v1/namespaces/kube-system/configmaps/node-local-dns", &config); err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"Corefile": edit(config.Data.Corefile)}})
	if err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "-n", "kube-system", "patch", "configmap", "node-local-dns", "--type=merge", "-p", string(patch))
}

const (
	brokenLine = "    frobnicate everything\n"
	brokenAt   = "    loop\n"
)

// brokenConfig is a template that CoreDNS does not understand. The caches that run go on with the last good one, and one that
// starts takes the one that its node keeps. On a node that keeps none it says in its pod's status what is wrong, and the cluster
// DNS serves the node.
func brokenConfig(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	before := n.cache(t)
	d := c.startDrill(t)
	c.editTemplate(t, func(s string) string { return strings.Replace(s, brokenAt, brokenAt+brokenLine, 1) })
	harness.Until(t, time.Minute, "word of the broken template in the log", func() error {
		out, err := c.TryKubectl("", "-n", "kube-system", "logs", before.Metadata.Name, "--tail=20")
		if err == nil && !strings.Contains(out, "frobnicate") {
			err = errors.New(out)
		}
		return err
	})
	n.replaceCache(t)
	before = n.cache(t)
	if out := c.Kubectl(t, "-n", "kube-system", "logs", before.Metadata.Name); !strings.Contains(out, "Running the last configuration that worked") {
		t.Errorf("the log of the new pod:\n%s", out)
	}
	n.Exec(t, "rm", "/run/nodelocaldns/Corefile.last-good")
	c.Kubectl(t, "-n", "kube-system", "delete", "pod", before.Metadata.Name, "--wait=false")
	harness.Until(t, time.Minute, "a status that says why the new pod does not run", func() error { return c.saysWhy(n, before, "frobnicate") })
	d.progress(t)
	c.editTemplate(t, func(s string) string { return strings.Replace(s, brokenLine, "", 1) })
	c.WaitRollout(t, "daemonsets", "node-local-dns")
	expect(t, "broken template", d.stop(t), 0)
}

// saysWhy looks for the reason where kubectl describe shows it.
func (c *Cluster) saysWhy(n *Node, before podObject, reason string) error {
	pods, err := c.pods("kube-system", "k8s-app=node-local-dns")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Spec.NodeName != n.Name || p.Metadata.Name == before.Metadata.Name || len(p.Status.ContainerStatuses) == 0 {
			continue
		}
		if last := p.status().LastState.Terminated; last != nil && strings.Contains(last.Message, reason) {
			return nil
		}
		err = fmt.Errorf("%+v", p.status())
	}
	return errors.Join(errors.New("not said"), err)
}
