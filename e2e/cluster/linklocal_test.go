// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// linkLocalPod is a pod that names the cache's own address as its nameserver.
func linkLocalPod(t *testing.T, c *Cluster) {
	for i, n := range c.Nodes {
		p := c.StartPod(t, PodSpec{Name: "link-local-" + n.Name, Node: n, Nameserver: LinkLocal, Searches: []string{"svc.cluster.local"}})
		own, others := n.Asked(t), c.Nodes[1-i].Asked(t)
		for range 10 {
			if addrs, err := p.Lookup("kubernetes.default"); err != nil || len(addrs) == 0 {
				t.Fatalf("%s: %v, %v", p.Name, addrs, err)
			}
		}
		cameTo(t, fmt.Sprintf("10 look-ups of %s, each of A and AAAA", p.Name), n, c.Nodes[1-i], own, others)
	}
}

// linkLocal is what becomes of those who ask 169.254.20.10, behind which there is no Service, when the cache of their node dies,
// hangs, stops, starts or is away, while the pods of the cluster DNS stay or go. Each part begins and ends with a cache that steers.
func linkLocal(t *testing.T, c *Cluster) {
	p := c.linkLocalClient(t)
	for _, part := range []struct {
		name string
		tell func(*testing.T, *Cluster, *Pod)
	}{
		{"Kill", linkLocalKilled},
		{"Hang", linkLocalHung},
		{"Restarts", linkLocalRestarted},
		{"Away", linkLocalAway},
		{"Rollouts", linkLocalRollouts},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.tell(t, c, p) }) {
			return
		}
	}
}

// linkLocalKill is the first part alone. It leaves a new pod, as the kubelet would wait longer and longer before it starts the old one
// again.
func linkLocalKill(t *testing.T, c *Cluster) {
	p := c.linkLocalClient(t)
	linkLocalKilled(t, c, p)
	p.Node.replaceCache(t)
}

func (c *Cluster) linkLocalClient(t *testing.T) *Pod {
	t.Helper()
	return c.StartPod(t, PodSpec{Name: "link-local", Node: c.Nodes[1], Nameserver: LinkLocal})
}

// linkLocalKilled kills the container twice. What is in flight is lost, and nothing else. The second time the kubelet waits for
// 10 s before it starts the next one, and the cluster DNS is asked.
func linkLocalKilled(t *testing.T, c *Cluster, p *Pod) {
	d := c.startLinkLocal(t, p, patience)
	d.servedByCache(t)
	var kills []client.Window
	for i := range 2 {
		before := p.Node.cache(t)
		kills = append(kills, p.Node.signal(t, before, "SIGKILL"))
		if i == 1 {
			d.sharePort(t, p, patience, true)
			d.servedByClusterDNS(t)
		}
		p.Node.waitRestart(t, before)
	}
	d.servedByCache(t)
	tcp, others := connections(d.stop(t))
	stubs, raw := lookups(others)
	expect(t, "link-local, kill -9, look-ups", stubs, 0)
	count(t, "link-local, kill -9, raw queries", raw)
	for _, w := range kills {
		expectMoment(t, "link-local, kill -9, in flight", in(raw, w))
	}
	expect(t, "link-local, kill -9, all that was not in flight", outside(raw, kills...), 0)
	expectResets(t, "link-local, kill -9, TCP connections", tcp, 2*len(kills))
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// hangTimeout bounds the time for which a cache that hangs may hold up those who ask it.
const hangTimeout = 4 * time.Second

// impatience is a shorter timeout than usual, so that an outage is seen at its length. It is not so short that a client which does
// not run for a moment, as the machine is busy, has no time left to send its query.
const impatience = time.Second

// linkLocalHung stops the process without ending it, for less time than the liveness probe needs to notice.
func linkLocalHung(t *testing.T, c *Cluster, p *Pod) {
	d := c.startLinkLocal(t, p, impatience)
	before := p.Node.cache(t)
	hung := p.Node.signal(t, before, "SIGSTOP")
	d.progress(t)
	d.servedByClusterDNS(t)
	resumed := p.Node.signal(t, before, "SIGCONT")
	took := d.servedByCache(t)
	t.Logf("the cache stood still for %s, and all were served by it again %s later",
		resumed.Begin.Sub(hung.Begin).Round(time.Millisecond), took.Round(time.Millisecond))
	stubs, raw := lookups(d.stop(t))
	expect(t, "link-local, hang, look-ups", stubs, 0)
	expectGap(t, "link-local, hang, raw queries", raw, hangTimeout)
	_, raw = connections(raw)
	hung.End = hung.Begin.Add(hangTimeout)
	t.Logf("not to be felt but from %s to %s and from %s to %s", clock(hung.Begin), clock(hung.End), clock(resumed.Begin), clock(resumed.End))
	expect(t, "link-local, hang, raw queries before and after", outside(raw, hung, resumed), 0)
	if after := p.Node.cache(t); after.status().RestartCount != before.status().RestartCount {
		t.Errorf("the cache was restarted: %+v", after.status())
	}
}

// linkLocalRestarted stops and starts the cache ten times. No look-up fails, and no single query.
func linkLocalRestarted(t *testing.T, c *Cluster, p *Pod) {
	d := c.startLinkLocal(t, p, patience)
	begin, direct := time.Now(), 0.0
	for range 10 {
		before := c.direct(t)
		p.Node.replaceCache(t)
		meanwhile := c.direct(t) - before
		if meanwhile == 0 {
			t.Error("while there was no cache, the cluster DNS was not asked")
		}
		direct += meanwhile
		d.servedByCache(t)
	}
	t.Logf("ten stops and starts took %s; %v queries came to the cluster DNS itself", time.Since(begin).Round(time.Second), direct)
	tcp, others := connections(d.stop(t))
	expect(t, "link-local, ten stops and starts", others, 0)
	expectResets(t, "link-local, ten stops and starts, TCP connections", tcp, 2*10)
}

// linkLocalAway is a cache that is away for so long that all pods of the cluster DNS are replaced meanwhile. What was begun with
// the old ones goes on with the new ones. A datagram to a pod that is just going may be lost, as it may at the ClusterIP.
func linkLocalAway(t *testing.T, c *Cluster, p *Pod) {
	d := c.startLinkLocal(t, p, patience)
	c.Kubectl(t, "-n", "kube-system", "delete", "daemonset", "node-local-dns")
	c.waitGone(t)
	d.sharePort(t, p, patience, true)
	d.servedByClusterDNS(t)
	c.rollClusterDNS(t)()
	d.progress(t)
	d.servedByClusterDNS(t)
	c.installCache(t)
	d.servedByCache(t)
	stubs, raw := lookups(d.stop(t))
	expect(t, "link-local, away, look-ups", stubs, 0)
	count(t, "link-local, away, raw queries", raw)
}

// linkLocalRollouts lets the cache die, hang, stop and start while the pods of the cluster DNS are replaced again and again.
// Programs that resolve as a C library does lose nothing. Each part has clients of its own: of one that is hit by the first and, 5 s
// later, by the second, both tries are lost.
func linkLocalRollouts(t *testing.T, c *Cluster, p *Pod) {
	stop := c.rollClusterDNS(t)
	for _, part := range []struct {
		name string
		do   func(*drill, podObject) []client.Window // returns when single queries may be lost
	}{
		{"kill -9", func(_ *drill, cache podObject) []client.Window {
			killed := p.Node.signal(t, cache, "SIGKILL")
			p.Node.waitRestart(t, cache)
			return []client.Window{killed}
		}},
		{"hang", func(d *drill, cache podObject) []client.Window {
			hung := p.Node.signal(t, cache, "SIGSTOP")
			d.progress(t)
			hung.End = hung.Begin.Add(hangTimeout)
			return []client.Window{hung, p.Node.signal(t, cache, "SIGCONT")}
		}},
		{"stop and start", func(*drill, podObject) []client.Window {
			p.Node.replaceCache(t)
			return nil
		}},
	} {
		d := c.startLinkLocal(t, p, patience)
		windows := part.do(d, p.Node.cache(t))
		stubs, raw := lookups(d.stop(t))
		what := "link-local, roll-outs of the cluster DNS, " + part.name
		expect(t, what+", look-ups", stubs, 0)
		count(t, what+", raw queries, not in flight or hung up", outside(raw, windows...))
	}
	t.Logf("the cluster DNS was replaced %d times", stop())
}
