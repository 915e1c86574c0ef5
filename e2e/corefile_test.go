// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
)

// fourBlocks is the template that the reference's users have in their ConfigMap, as it is when the deployment has filled in
// the addresses: the cluster's zone, both reverse zones and the rest of the world. Only reload is quicker, and connections are
// not kept for 10 s: then the cluster DNS closes them, and a query that is on its way meanwhile fails.
func fourBlocks(addrs []netip.Addr) string {
	bind := strings.ReplaceAll(join(addrs), ",", " ")
	health := netip.AddrPortFrom(addrs[0], 8080)
	block := func(zone, cache, more, forward string) string {
		return fmt.Sprintf(`%s:53 {
    packetcache
    errors
    cache %s
    reload 2s 0s
    loop
    bind %s
    forward . %s
    prometheus __PROMETHEUS__ENDPOINT__
%s}
`, zone, cache, bind, forward, more)
	}
	const clusterDNS = `__PILLAR__CLUSTER__DNS__ {
        force_tcp
        expire 5s
    }`
	return block("cluster.local", `{
        success 9984 30
        denial 9984 5
    }`, "    health "+health.String()+"\n", clusterDNS) +
		block("in-addr.arpa", "30", "", clusterDNS) +
		block("ip6.arpa", "30", "", clusterDNS) +
		block(".", "30", "", "__PILLAR__UPSTREAM__SERVERS__")
}
