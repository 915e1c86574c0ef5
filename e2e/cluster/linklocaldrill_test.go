// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// startLinkLocal starts the loads of those who ask the link-local address, from a pod and from its node, over UDP and TCP,
// and of flows of the pod that share a port. All ask for new names, each of which has another address.
func (c *Cluster) startLinkLocal(t *testing.T, p *Pod, timeout time.Duration) *drill {
	t.Helper()
	d := &drill{cluster: c}
	cache := netip.MustParseAddr(LinkLocal)
	for _, from := range []*Pod{p, p.Node.HostClient} {
		d.start(t, from, protocol.Load{Server: cache, Stub: true, Interval: 40 * time.Millisecond})
		d.start(t, from, protocol.Load{Server: cache, Timeout: timeout, Interval: 20 * time.Millisecond})
		d.start(t, from, protocol.Load{Server: cache, Timeout: timeout, Interval: 50 * time.Millisecond, TCP: true})
	}
	d.sharePort(t, p, timeout, false)
	d.sharePort(t, p, timeout, true)
	d.progress(t)
	return d
}

// sharePort starts two flows that differ in nothing but the address that is asked: the cache's own and the ClusterIP. Their sockets
// are connected, so what comes from the other address is no answer to them.
func (d *drill) sharePort(t *testing.T, p *Pod, timeout time.Duration, tcp bool) {
	t.Helper()
	port := 10000 + 64*uint16(d.cluster.loads) // below what the kernel chooses, and with room for connections that are made anew
	for _, server := range []string{LinkLocal, DNSService} {
		d.start(t, p, protocol.Load{
			Server: netip.MustParseAddr(server), Timeout: timeout, Interval: 25 * time.Millisecond, TCP: tcp, Socket: "long", LocalPort: port,
		})
	}
}

// expectMoment fails the test if the queries that were lost by a kill were not all sent at one moment: while the kernel ends the
// process, and with it the addresses. With a query in 20 ms that is one of each client, and more where no processor is free: the
// time for which the clients could not ask is not counted.
func expectMoment(t *testing.T, what string, reports []client.Report) {
	t.Helper()
	var sent []time.Time
	most, stall := 0, time.Duration(0)
	for _, r := range reports {
		most, stall = max(most, len(r.Failures)), max(stall, r.Stall)
		for _, f := range r.Failures {
			sent = append(sent, f.At)
		}
	}
	if len(sent) == 0 {
		return
	}
	took := slices.MaxFunc(sent, time.Time.Compare).Sub(slices.MinFunc(sent, time.Time.Compare))
	t.Logf("%s: %d queries of all clients, %d at most of one, sent within %s; the clients stood still for %s", what, len(sent), most,
		took.Round(time.Millisecond), stall.Round(time.Millisecond))
	if took-stall > inFlight {
		t.Errorf("%s: lost over more than %s: %v", what, inFlight, reports)
	}
}

// connections are the reports of long-lived TCP connections.
func connections(reports []client.Report) (yes, no []client.Report) {
	return split(reports, func(r client.Report) bool { return strings.Contains(r.Probe, " tcp long ") })
}

// expectGap fails the test if a client was without an answer for longer, less the time for which it could not ask.
func expectGap(t *testing.T, what string, reports []client.Report, allowed time.Duration) {
	t.Helper()
	longest := time.Duration(0)
	for _, r := range reports {
		longest = max(longest, r.Gap-r.Stall)
		if r.Gap-r.Stall > allowed {
			t.Errorf("%s: no answer for more than %s: %s", what, allowed, r)
		}
	}
	t.Logf("%s: no client without an answer for more than %s", what, longest.Round(time.Millisecond))
}

// endOfConnection is how a client sees it: while it waits, reads or writes.
var endOfConnection = []string{"connection ended", "connection reset", "broken pipe"}

// expectResets fails the test if more was lost over long-lived TCP connections than what was on its way when they ended. That
// they may do when the cache goes, and when it comes back or 3 s later; see docs/operations.md.
func expectResets(t *testing.T, what string, reports []client.Report, changes int) {
	t.Helper()
	count(t, what, reports)
	for _, r := range reports {
		for _, f := range r.Failures {
			if !slices.ContainsFunc(endOfConnection, func(s string) bool { return strings.Contains(f.Err.Error(), s) }) {
				t.Errorf("%s: %s: lost without the end of a connection: %s: %v", what, r.Probe, f.Name, f.Err)
			}
		}
		if allowed := 3 * changes; len(r.Failures) > allowed {
			t.Errorf("%s: more than %d queries failed: %s", what, allowed, r)
		}
	}
}

// direct is the number of queries that the pods of the cluster DNS were asked over UDP, which is by clients themselves: the
// caches ask over TCP.
func (c *Cluster) direct(t *testing.T) (sum float64) {
	t.Helper()
	pods, err := c.pods("kube-system", "k8s-app=kube-dns")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		page, err := c.fabric.Get(fmt.Sprintf("http://%s:9153/metrics", p.Status.PodIP))
		if err != nil {
			t.Fatalf("reading the metrics of %s: %v", p.Metadata.Name, err)
		}
		if v, err := process.Metric(page, "coredns_dns_requests_total", `proto="udp"`); err == nil { // none yet otherwise
			sum += v
		}
	}
	return sum
}

// overUDP is the number of queries that were answered to the clients over UDP. A look-up is two.
func (d *drill) overUDP(t *testing.T) (sum int) {
	t.Helper()
	for _, l := range d.loads {
		switch r := l.SoFar(t); {
		case strings.Contains(r.Probe, "getaddrinfo"):
			sum += 2 * r.Answered()
		case !strings.Contains(r.Probe, " tcp "):
			sum += r.Answered()
		}
	}
	return sum
}

// shares counts the next answers over UDP, and what the cluster DNS saw of their queries.
func (d *drill) shares(t *testing.T) (answered int, direct float64) {
	t.Helper()
	before, begin := d.cluster.direct(t), d.overUDP(t)
	harness.Until(t, 20*time.Second, "200 more answers over UDP", func() error {
		if answered = d.overUDP(t) - begin; answered < 200 {
			return fmt.Errorf("%d", answered)
		}
		return nil
	})
	return answered, d.cluster.direct(t) - before
}

// servedByClusterDNS checks that there is no cache between the clients and the cluster DNS. Each load may have an answer on its way.
func (d *drill) servedByClusterDNS(t *testing.T) {
	t.Helper()
	if answered, direct := d.shares(t); int(direct) < answered-len(d.loads) {
		t.Errorf("%d queries were answered while there was no cache, and %v came to the cluster DNS", answered, direct)
	}
}

// servedByCache waits until nothing comes to the cluster DNS but what a cache asks it.
func (d *drill) servedByCache(t *testing.T) time.Duration {
	t.Helper()
	return harness.Until(t, 10*time.Second, "clients that are all served by the cache", func() error {
		if answered, direct := d.shares(t); direct != 0 {
			return fmt.Errorf("%v of the queries of %d answers came to the cluster DNS", direct, answered)
		}
		return nil
	})
}
