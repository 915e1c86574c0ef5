// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestConnectionsOfOnePod has one pod make as many TCP connections as it can, while the process may have few descriptors. The pod
// holds its share of the connections and no more. Another pod's queries are answered, over TCP after a moment, and the process
// does not spin for want of descriptors.
func TestConnectionsOfOnePod(t *testing.T) {
	for _, test := range []struct {
		crowd client.Crowd
		files uint64
	}{
		{client.Crowd{Size: 5000, Manners: client.Idle}, 1024},
		{client.Crowd{Size: 200, Manners: client.Idle}, 64},
		{client.Crowd{Size: 2000, Manners: client.Dripping}, 1024},
		{client.Crowd{Size: 200, Manners: client.Dripping}, 64},
		{client.Crowd{Size: 1000, Manners: client.Hasty}, 1024},
	} {
		t.Run(fmt.Sprintf("%d %s, %d files", test.crowd.Size, test.crowd.Manners, test.files), func(t *testing.T) {
			l := lab.New(t, lab.IPTablesNFT)
			other := l.NewPod(t, "other", 9)
			c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
			c.limitFiles(t, test.files)
			test.crowd.From, test.crowd.Target = l.Pod, lab.ClusterIP
			loads := client.StartAll(t,
				client.Probe{From: other, Target: lab.ClusterIP, Interval: 5 * time.Millisecond, Timeout: time.Second, Name: client.Always("kubernetes.default.svc.cluster.local.")},
				client.Probe{From: other, Target: lab.ClusterIP, Interval: 20 * time.Millisecond, Timeout: 3 * time.Second, Name: client.Unique("cold")},
				client.Probe{From: other, Target: lab.ClusterIP, TCP: true, Interval: 20 * time.Millisecond, Timeout: 3 * time.Second, Name: client.Unique("tcp")},
			)
			progress(t, loads, 20)
			before := c.Needs(c.page).Files
			cpu, begin := c.CPU(t), time.Now()
			crowd := test.crowd.Start(t)
			most := 0
			for time.Since(begin) < crowdTime {
				most = max(most, c.Needs(c.page).Files)
				time.Sleep(100 * time.Millisecond) // the time between two samples
			}
			busy := (c.CPU(t) - cpu).Seconds() / time.Since(begin).Seconds()
			made := crowd.Stop()
			t.Logf("%d connections made, %d descriptors before and %d at most, %.2f CPUs", made, before, most, busy)
			for _, r := range stop(t, loads) {
				t.Logf("%s: %d sent, %d failed, longest gap %s, slowest %s", r.Probe, r.Sent, len(r.Failures), r.Gap, r.Slowest)
				if len(r.Failures) > r.Sent/100 || r.Gap > 2*time.Second+r.Stall {
					t.Errorf("%s: %d of %d failed, longest gap %s", r.Probe, len(r.Failures), r.Sent, r.Gap)
				}
			}
			if n := c.metric(t, "coredns_nodelocal_withdrawals_total", `reason="self_query"`); n > 0 {
				t.Errorf("steering went off %g times", n)
			}
			const each = 50e-6 // seconds of CPU that a connection with a query costs
			if allowed := 0.5 + each*float64(made)/crowdTime.Seconds(); busy > allowed {
				t.Errorf("%.2f CPUs were busy, want %.2f at most", busy, allowed)
			}
			if test.crowd.Manners == client.Hasty {
				return // such connections do not last
			}
			if n := c.metric(t, "coredns_nodelocal_connections_closed_total"); n == 0 {
				t.Error("no connection was closed")
			}
			c.WaitOutput(t, saidTimeout, "Closing TCP connections, most of them from "+lab.PodIP.String())
			c.letsIn(t, l.Pod)
		})
	}
}

// crowdTime is how long the connections last.
const crowdTime = 8 * time.Second

// limitFiles changes how many descriptors the process may have.
func (c *cache) limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	err := unix.Prlimit(c.Pid(), unix.RLIMIT_NOFILE, nil, &limit)
	if limit.Cur = n; err == nil {
		err = unix.Prlimit(c.Pid(), unix.RLIMIT_NOFILE, &limit, nil)
	}
	if err != nil {
		t.Fatalf("limiting the descriptors of process %d: %v", c.Pid(), err)
	}
}

// letsIn waits until a pod whose connections are gone is answered over TCP.
func (c *cache) letsIn(t *testing.T, pod *netns.Namespace) {
	t.Helper()
	harness.Until(t, 15*time.Second, "answer over TCP to the pod that had too many connections", func() error {
		_, err := client.Ask(pod, client.Query{Server: client.Port53(lab.ClusterIP), TCP: true, Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
		return err
	})
}
