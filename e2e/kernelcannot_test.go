// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestKernelCannot asks for hits in the kernel where there are none: Linux before 6.6 has no tcx, and on a newer one the process has
// no right to BPF. One line of the log says so, and the process answers the hits.
func TestKernelCannot(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	o := options{firewall: lab.NFTables, addrs: dual, base: inKernel(dual)}
	if lab.HasTCX() == nil {
		o.under = []string{harness.Which(t, "setpriv"), "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"}
	}
	c := start(t, l, o)
	c.said(t, "not in the kernel: ")
	answered(t, l, dual)
	loads := client.StartAll(t, hot([]*netns.Namespace{l.Pod}, dual...)...)
	c.waitMetric(t, 20*time.Second, 20, "coredns_packetcache_hits_total")
	noFailure(t, stop(t, loads))
	if n := c.metric(t, kernelHits); n != 0 {
		t.Errorf("%g hits in the kernel", n)
	}
	if n := strings.Count(c.Output(), "[WARNING]"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, c.Output())
	}
	c.term(t)
}
