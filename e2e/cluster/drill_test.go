// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// A drill is a load from clients of both nodes while something happens.
type drill struct {
	loads   []*Load
	cluster *Cluster
}

// patience is how long a client waits for an answer: as long as a C library does before it asks again.
const patience = 5 * time.Second

// popular is a name that is always in the caches.
const popular = "kubernetes.default.svc.cluster.local."

// loadOfResolvConf resolves new names as a C library does, by the pod's resolv.conf.
var loadOfResolvConf = protocol.Load{Interval: 40 * time.Millisecond}

var errStillThere = errors.New("still there")

// startDrill starts the loads of a usual node, on both: a program that resolves names as a C library does, by the pod's own
// resolv.conf, and others that count each datagram. Half of the names are new ones, so the cluster DNS is asked for them. It
// is 500 queries a second in all.
func (c *Cluster) startDrill(t *testing.T, servers ...string) *drill {
	t.Helper()
	if len(servers) == 0 {
		servers = []string{DNSService}
		if c.DualStack {
			servers = append(servers, DNSService6)
		}
	}
	d := &drill{cluster: c}
	for _, n := range c.Nodes {
		d.start(t, n.Client, loadOfResolvConf)
		d.start(t, n.HostClient, loadOfResolvConf)
		for _, server := range servers {
			ip, rate := netip.MustParseAddr(server), time.Duration(len(servers))
			d.start(t, n.Client, protocol.Load{Server: ip, Timeout: patience, Interval: rate * 10 * time.Millisecond})
			d.start(t, n.Client, protocol.Load{Server: ip, Timeout: patience, Interval: rate * 20 * time.Millisecond, Name: popular, Socket: "long"})
			d.start(t, n.HostClient, protocol.Load{Server: ip, Timeout: patience, Interval: rate * 40 * time.Millisecond, Name: popular})
			d.start(t, n.Client, protocol.Load{Server: ip, Timeout: patience, Interval: rate * 50 * time.Millisecond, TCP: true})
		}
	}
	d.progress(t)
	return d
}

func (d *drill) start(t *testing.T, p *Pod, q protocol.Load) {
	t.Helper()
	d.loads = append(d.loads, p.Start(t, q))
}

// progress waits until each client has 20 more answers.
func (d *drill) progress(t *testing.T) {
	t.Helper()
	want := make([]int, len(d.loads))
	for i, l := range d.loads {
		want[i] = l.SoFar(t).Answered() + 20
	}
	for i, l := range d.loads {
		harness.Until(t, 30*time.Second, "20 more answers to "+l.id, func() error {
			if r := l.SoFar(t); r.Answered() < want[i] {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}

// stop waits until all is well again and ends the loads.
func (d *drill) stop(t *testing.T) []client.Report {
	t.Helper()
	d.progress(t)
	var reports []client.Report
	stall := time.Duration(0)
	for _, l := range d.loads {
		reports = append(reports, l.Stop(t))
		stall = max(stall, reports[len(reports)-1].Stall)
	}
	if stall > 500*time.Millisecond {
		t.Logf("the machine was too busy for the measurement: a client stood still for %s", stall.Round(time.Millisecond))
	}
	return reports
}

// expect fails the test if a client lost more queries than allowed, and sums up.
func expect(t *testing.T, what string, reports []client.Report, allowed int) {
	t.Helper()
	sent, failed, slowest := 0, 0, time.Duration(0)
	for _, r := range reports {
		sent, failed, slowest = sent+r.Sent, failed+len(r.Failures), max(slowest, r.Slowest)
		if len(r.Failures) > allowed {
			t.Errorf("%s: more than %d queries failed: %s", what, allowed, r)
		}
	}
	t.Logf("%s: %d queries, %d failed, slowest answer %s", what, sent, failed, slowest.Round(time.Millisecond))
}

// lookups are the reports of those who resolve as a C library does; the others count each datagram.
func lookups(reports []client.Report) (stubs, raw []client.Report) {
	for _, r := range reports {
		if strings.Contains(r.Probe, "getaddrinfo") {
			stubs = append(stubs, r)
		} else {
			raw = append(raw, r)
		}
	}
	return stubs, raw
}

// servfails counts the queries that were answered so.
func servfails(reports []client.Report) (n int) {
	for _, r := range reports {
		for _, f := range r.Failures {
			if strings.Contains(f.Err.Error(), "SERVFAIL") {
				n++
			}
		}
	}
	return n
}
