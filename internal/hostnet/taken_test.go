// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

func TestOpenRefusesAddressesOfOthers(t *testing.T) {
	for link, want := range map[string]string{
		"kube-ipvs0": "address 10.96.0.10 is on kube-ipvs0: kube-proxy runs in IPVS mode and answers for every ClusterIP itself: leave it out (-localip 169.254.20.10, or auto), and name 169.254.20.10 to the pods (clusterDNS of the kubelet)",
		"eth7":       "address 10.96.0.10 is already on eth7: leave it out, or take it off there",
	} {
		t.Run(link, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Command(t, "ip", "link", "add", link, "type", "bridge")
			nettest.Command(t, "ip", "address", "add", "10.96.0.10/32", "dev", link)
			before := state(t)
			if _, err := Open(testConfig()); err == nil || err.Error() != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
			if err := nft.RemoveTables(fallback.Name, family.Both...); err != nil {
				t.Error(err)
			}
			if after := state(t); after != before {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
}
