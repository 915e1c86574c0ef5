// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

// TestMemoryLimit has pods ask for more names than there is room for, and then the cluster DNS be silent, so that as many questions
// wait as may. The process stays within its limit.
func TestMemoryLimit(t *testing.T) {
	for _, limit := range []string{"64Mi", "96Mi"} {
		t.Run(limit, func(t *testing.T) {
			l := lab.New(t, lab.IPTablesNFT)
			c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), args: []string{"-memory", limit}})
			loads := manyNames(t, l, "full", nil)
			for range 3 {
				progress(t, loads, either(500, 50))
			}
			noFailure(t, stop(t, loads))
			within(t, c, limit)
			l.LoseDNS(t, 1)
			loads = manyNames(t, l, "lost", func(*dns.Msg) error { return nil })
			c.waitMetric(t, 30*time.Second, either(1000.0, 100), "go_goroutines")
			progress(t, loads, either(100, 10))
			within(t, c, limit)
			stop(t, loads)
		})
	}
}

// manyNames has four clients ask for names of their own.
func manyNames(t *testing.T, l *lab.Lab, tag string, check func(*dns.Msg) error) []*client.Load {
	t.Helper()
	var probes []client.Probe
	for i := range 4 {
		probes = append(probes, client.Probe{
			From: l.Pod, Target: ipv4[i%2], Socket: client.Unconnected, Interval: either(4*time.Millisecond, 40*time.Millisecond),
			Timeout: 6 * time.Second, Name: client.Unique(fmt.Sprintf("%s%d", tag, i)), Check: check,
		})
	}
	return client.StartAll(t, probes...)
}

// within checks what the process has resident.
func within(t *testing.T, c *cache, limit string) {
	t.Helper()
	most, err := memlimit.Parse(limit)
	if err != nil {
		t.Fatal(err)
	}
	rss := c.metric(t, "process_resident_memory_bytes")
	if rss > float64(most) {
		t.Errorf("%.0f MiB are resident", rss/(1<<20))
	}
	t.Logf("%.0f MiB resident, %.0f goroutines", rss/(1<<20), c.metric(t, "go_goroutines"))
}
