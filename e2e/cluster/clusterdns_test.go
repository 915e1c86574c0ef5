// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// clusterDNSRollout is what happens to the pods of the cluster DNS in a usual week, while half of the queries are for names
// that no cache has. Programs that resolve as a C library does lose nothing. Queries without a second try may: each such
// failure is counted here.
func clusterDNSRollout(t *testing.T, c *Cluster) {
	scale := func(replicas string) func() {
		return func() { c.Kubectl(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas="+replicas) }
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"restart", func() { c.Kubectl(t, "-n", "kube-system", "rollout", "restart", "deployment/coredns") }},
		{"scale from 2 to 4", scale("4")},
		{"scale from 4 to 1", scale("1")},
		{"scale from 1 to 2", scale("2")},
		{"delete a pod", func() { c.deleteClusterDNSPod(t) }},
		{"delete a pod without grace", func() { c.deleteClusterDNSPod(t, "--grace-period=0", "--force") }},
	} {
		d := c.startDrill(t)
		step.do()
		c.WaitRollout(t, "deployments", "coredns")
		c.waitTerminated(t)
		stubs, raw := lookups(d.stop(t))
		expect(t, step.name+" of the cluster DNS, look-ups", stubs, 0)
		count(t, step.name+" of the cluster DNS, raw queries", raw)
	}
}

// count reports what failed.
func count(t *testing.T, what string, reports []client.Report) {
	t.Helper()
	sent, failed, slowest := 0, 0, time.Duration(0)
	for _, r := range reports {
		sent, failed, slowest = sent+r.Sent, failed+len(r.Failures), max(slowest, r.Slowest)
		if len(r.Failures) > 0 {
			t.Logf("%s: %s", what, r)
		}
	}
	t.Logf("%s: %d queries, %d failed, of these %d SERVFAIL; slowest answer %s", what, sent, failed, servfails(reports),
		slowest.Round(time.Millisecond))
}

func (c *Cluster) deleteClusterDNSPod(t *testing.T, args ...string) {
	t.Helper()
	pods, err := c.pods("kube-system", "k8s-app=kube-dns")
	if err != nil || len(pods) < 2 {
		t.Fatalf("pods of the cluster DNS: %v, %v", pods, err)
	}
	c.Kubectl(t, append([]string{"-n", "kube-system", "delete", "pod", pods[0].Metadata.Name, "--wait=false"}, args...)...)
	harness.Until(t, 30*time.Second, "a pod in its place", func() error {
		now, err := c.pods("kube-system", "k8s-app=kube-dns")
		if err == nil && len(now) < len(pods) {
			err = errStillThere
		}
		for _, p := range now {
			if p.Metadata.Name == pods[0].Metadata.Name && p.Metadata.DeletionTimestamp == "" {
				err = errStillThere
			}
		}
		return err
	})
}

// waitTerminated waits until the pods of the cluster DNS that are to go have gone.
func (c *Cluster) waitTerminated(t *testing.T) {
	t.Helper()
	harness.Until(t, 90*time.Second, "end of the old pods", func() error {
		pods, err := c.pods("kube-system", "k8s-app=kube-dns")
		for _, p := range pods {
			if p.Metadata.DeletionTimestamp != "" {
				return errStillThere
			}
		}
		return err
	})
}

// rollClusterDNS replaces the pods of the cluster DNS again and again. What it returns lets the last time end, and counts.
func (c *Cluster) rollClusterDNS(t *testing.T) (stop func() int) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan struct{})
	times := 0
	var err error
	go func() {
		defer close(done)
		for err == nil {
			err = c.rollOnce()
			times++
			select {
			case <-quit:
				return
			default:
			}
		}
	}()
	end := sync.OnceFunc(func() {
		close(quit)
		<-done
	})
	t.Cleanup(end)
	return func() int {
		t.Helper()
		end()
		if err != nil {
			t.Fatalf("replacing the pods of the cluster DNS: %v", err)
		}
		c.waitTerminated(t)
		return times
	}
}

func (c *Cluster) rollOnce() error {
	for _, args := range [][]string{{"restart"}, {"status", "--timeout=60s"}} {
		out, err := c.TryKubectl("", append([]string{"-n", "kube-system", "rollout", args[0], "deployment/coredns"}, args[1:]...)...)
		if err != nil {
			return fmt.Errorf("rollout %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}
