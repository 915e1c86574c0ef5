// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// silentLimit is when a client has heard of a question that the cluster DNS does not answer: the template's timeout, and what a
// busy machine adds.
const silentLimit = 3*time.Second + 300*time.Millisecond

// TestSilentClusterDNS has all packets to and from the cluster DNS vanish before the cache starts. From the first question on each
// is answered SERVFAIL in the time that the template names. What waits stays bounded, the log says once what is wrong, and
// once that it is over.
func TestSilentClusterDNS(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	l.LoseDNS(t, 1)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	servfail := func(m *dns.Msg) error {
		if m.Rcode != dns.RcodeServerFailure {
			return fmt.Errorf("answered %s", dns.RcodeToString[m.Rcode])
		}
		return nil
	}
	probe := func(tag string, tcp bool) client.Probe {
		return client.Probe{From: l.Pod, Target: lab.LinkLocal, TCP: tcp, Interval: 20 * time.Millisecond, Timeout: 6 * time.Second, Name: client.Unique(tag), Check: servfail}
	}
	goroutines, files := c.metric(t, "go_goroutines"), c.metric(t, "process_open_fds")
	loads := client.StartAll(t, probe("udp", false), probe("tcp", true))
	progress(t, loads, 600)
	moreRoutines, moreFiles := c.metric(t, "go_goroutines")-goroutines, c.metric(t, "process_open_fds")-files
	t.Logf("%g goroutines and %g files more while questions wait", moreRoutines, moreFiles)
	for _, r := range stop(t, loads) {
		noFailure(t, []client.Report{r})
		if r.Slowest > silentLimit+r.Stall {
			t.Errorf("%s: the slowest took %s, want %s at most", r.Probe, r.Slowest, silentLimit)
		}
		if fastest := r.Quantile(0); fastest < 2900*time.Millisecond {
			t.Errorf("%s: one failed after %s", r.Probe, fastest)
		}
	}
	if moreRoutines > 600 || moreFiles > 200 { // two for each question that waits, and the connections to the cluster DNS
		t.Errorf("%g goroutines and %g files more while questions wait", moreRoutines, moreFiles)
	}
	harness.Until(t, 20*time.Second, "end of what waited", func() error {
		moreRoutines, moreFiles := c.metric(t, "go_goroutines")-goroutines, c.metric(t, "process_open_fds")-files
		if moreRoutines > 100 || moreFiles > 100 {
			return fmt.Errorf("%g goroutines and %g files more than before", moreRoutines, moreFiles)
		}
		return nil
	})
	c.waitMetric(t, 10*time.Second, 1, "coredns_hedge_failures_total")
	c.metricIs(t, 0, "coredns_hedge_upstream_up")
	c.said(t, "has not answered since")
	if n := strings.Count(c.Output(), "[ERROR]"); n > 10 {
		t.Errorf("%d errors in the log", n)
	}
	l.FindDNS(t)
	harness.Until(t, 20*time.Second, "answer", func() error {
		_, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: "kubernetes.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
		return err
	})
	c.WaitOutput(t, saidTimeout, "answers again, after")
}
