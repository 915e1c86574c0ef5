// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
)

// ipvsLink is the link to which kube-proxy in IPVS mode adds every ClusterIP.
const ipvsLink = "kube-ipvs0"

// taken says what to do about an address of the cache that is on another link.
func taken(addr netip.Addr, link string) error {
	if link == ipvsLink {
		return fmt.Errorf("address %s is on %s: kube-proxy runs in IPVS mode and answers for every ClusterIP itself: leave it out (-localip 169.254.20.10, or auto), and name 169.254.20.10 to the pods (clusterDNS of the kubelet)", addr, link)
	}
	return fmt.Errorf("address %s is already on %s: leave it out, or take it off there", addr, link)
}
