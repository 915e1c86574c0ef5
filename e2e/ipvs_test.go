// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestIPVS lets all events happen where kube-proxy runs in IPVS mode: there the cache has an address of its own and no
// other, and what asks it goes to the cluster DNS's ClusterIP while the cache is away. Reverse path filters are strict.
func TestIPVS(t *testing.T) {
	harness.Require(t)
	lab.NeedsKernel(t, lab.HasIPVS(t))
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			o := options{firewall: firewall, addrs: told(firewall, []netip.Addr{lab.LinkLocal, lab.LinkLocal6})}
			starts := 1
			if firewall == lab.NFTables { // the one with the least to emulate
				starts = 10
			}
			happen(t, lab.New(t, lab.IPVS), o, events(starts))
		})
	}
}
