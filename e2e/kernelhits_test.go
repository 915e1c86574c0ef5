// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// inKernel is the template whose hits are answered in the kernel.
func inKernel(addrs []netip.Addr) string {
	return strings.Replace(fourBlocks(addrs), "    packetcache\n", "    packetcache {\n        kernel\n    }\n", 1)
}

// kernelHits is the metric of hits that were answered in the kernel.
const kernelHits = "coredns_packetcache_kernel_hits_total"

// TestHitsInKernel has hits be answered in the kernel, of pods and of the host.
func TestHitsInKernel(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: inKernel(dual)})
	for _, a := range dual {
		for _, from := range []client.Probe{{From: l.Pod}, {From: l.Node}} {
			server := fmt.Sprintf("server=%q", "dns://"+client.Port53(a).String())
			from.Target, from.Interval, from.Name = a, 2*time.Millisecond, func(int) string { return "web.default.svc.cluster.local." }
			before := c.counter(kernelHits, server)
			loads := client.StartAll(t, from)
			harness.Until(t, 10*time.Second, "hits in the kernel", func() error {
				if n := c.counter(kernelHits, server) - before; n < 500 {
					return fmt.Errorf("%g", n)
				}
				return nil
			})
			noFailure(t, stop(t, loads))
			t.Logf("%s", loads[0])
		}
	}
}
