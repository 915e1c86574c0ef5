// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// arpTable is the name of the nftables table, of family arp, that keeps the
// kernel from answering ARP for the cache's addresses on the uplinks: it does so
// for each address of the host, by whatever interface it is asked. (For IPv6 it
// answers for addresses of that interface only.) Without the addresses the table
// does nothing, so a table that a dead process leaves does no harm.
const arpTable = "nodelocaldns_arp"

// setARP sets the table for the present uplinks. If the kernel has nf_tables, but
// not for ARP, the node still answers, and one warning says so.
func (n *Network) setARP() {
	names := n.closed()
	addrs := slices.DeleteFunc(slices.Clone(n.cfg.Addresses), netip.Addr.Is6)
	if len(names) == 0 || len(addrs) == 0 {
		_ = removeARP() // Close tries again, and returns the error
		return
	}
	var b nftBatch
	b.replaceTable(unix.NFPROTO_ARP, arpTable)
	b.addChain(unix.NFPROTO_ARP, arpTable, "input", "filter", nfARPIn, 0)
	for _, name := range names {
		for _, a := range addrs {
			b.addRule(unix.NFPROTO_ARP, arpTable, "input", commentUplink, slices.Concat(matchInput(name), matchARPRequest(a), drop())...)
		}
	}
	err := b.commit()
	if _, lacks := nftGeneration(); err == nil || lacks != nil || n.arpFailed {
		return // without nf_tables there is another line
	}
	n.arpFailed = true
	n.warnings = append(n.warnings, fmt.Sprintf("The node answers ARP for %v on %v: setting nftables table %s: %v", addrs, names, arpTable, err))
}

func removeARP() error {
	exists, err := nftTableExists(unix.NFPROTO_ARP, arpTable)
	if err == nil && exists {
		var b nftBatch
		b.delTable(unix.NFPROTO_ARP, arpTable)
		err = b.commit()
	}
	if err != nil {
		return fmt.Errorf("removing nftables table %s: %w", arpTable, err)
	}
	return nil
}

// nfARPIn is NF_ARP_IN of include/uapi/linux/netfilter_arp.h.
const nfARPIn = 0

// matchInput matches what comes in by an interface.
func matchInput(name string) []nftExpr {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []nftExpr{exprMeta(unix.NFT_META_IIFNAME), exprCmp(unix.NFT_CMP_EQ, padded)}
}

// matchARPRequest matches who asks for the link address of a: operation and target
// in a packet of Ethernet and IPv4 (RFC 826). An answer that this host has asked
// for in the name of a has another operation, and is not matched.
func matchARPRequest(a netip.Addr) []nftExpr {
	const request = 1
	return []nftExpr{
		exprPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 2), exprCmp(unix.NFT_CMP_EQ, []byte{0, request}),
		exprPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 4), exprCmp(unix.NFT_CMP_EQ, a.AsSlice()),
	}
}
