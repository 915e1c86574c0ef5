// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// ARPTable is the name of the nftables table, of family arp, that keeps the kernel from answering ARP for the cache's
// addresses on the uplinks: it does so for each address of the host, by whatever interface it is asked. (For IPv6 it
// answers for addresses of that interface only.) Without the addresses the table does nothing, so a table that a dead
// process leaves does no harm.
const ARPTable = "nodelocaldns_arp"

// RefuseARP has the kernel answer no ARP for addrs, of which IPv6 ones are left out, on the interfaces names.
func RefuseARP(names []string, addrs []netip.Addr) error {
	addrs = family.IPv4.Only(addrs)
	if len(names) == 0 || len(addrs) == 0 {
		_ = RemoveARP() // the caller calls it at the end, and returns the error
		return nil
	}
	var b nft.Batch
	b.ReplaceTable(nft.ARP, ARPTable)
	b.AddChain(nft.ARP, ARPTable, "input", "filter", nft.ARPIn, 0)
	for _, name := range names {
		for _, a := range addrs {
			b.AddRule(nft.ARP, ARPTable, "input", steering.CommentUplink, slices.Concat(nft.MatchInput(name), nft.MatchARPRequest(a), nft.Drop())...)
		}
	}
	if err := b.Commit(); err != nil {
		return fmt.Errorf("setting nftables table %s: %w", ARPTable, err)
	}
	return nil
}

// RemoveARP removes the table, if it is there.
func RemoveARP() error { return nft.RemoveTables(ARPTable, nft.ARP) }
