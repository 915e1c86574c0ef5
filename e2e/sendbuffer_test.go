// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestAnswersToNobody has a pod ask in the name of neighbours that do not exist. Each answer waits in the kernel for 3 s and counts as
// that of the stock server's one socket at the address, before a reload and behind it. The others are answered all the same.
func TestAnswersToNobody(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	other := l.NewPod(t, "other", 9)
	c := start(t, l, options{firewall: lab.IPTablesNFT}) // a template without packetcache
	c.settle(t)
	loads := client.StartAll(t, client.Probe{
		From: other, Target: lab.ClusterIP, Interval: 5 * time.Millisecond, Timeout: time.Second, Name: client.Always("kubernetes.default.svc.cluster.local."),
	})
	const rate, seconds = 400, 6
	flood := client.Flood{
		From: l.Pod, Target: lab.ClusterIP, Sources: client.Absent(lab.PodIP, 50), Rate: rate, Payload: client.One("web.default.svc.cluster.local.", dns.TypeA),
	}.Start(t)
	sent := func(n int) {
		t.Helper()
		harness.Until(t, time.Minute, fmt.Sprintf("flood of %d packets", n), func() error {
			if flood.Sent() < n {
				return fmt.Errorf("%d packets", flood.Sent())
			}
			return nil
		})
	}
	sent(rate * seconds)
	c.reload(t)
	sent(2 * rate * seconds)
	for _, r := range stop(t, loads) {
		t.Log(r)
		if len(r.Failures) > r.Sent/200 {
			t.Errorf("%s: %d of %d failed", r.Probe, len(r.Failures), r.Sent)
		}
	}
	flood.Stop(t)
	if n := c.metric(t, "coredns_nodelocal_withdrawals_total", `reason="self_query"`); n > 0 {
		t.Errorf("steering went off %g times", n)
	}
}
