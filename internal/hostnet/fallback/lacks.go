// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// nftLacks returns the name of the first kernel module that the fallback table
// needs and the kernel has not, or an empty string. Each is tried in a table
// that is deleted by the transaction that makes it.
func nftLacks() string {
	if _, err := nftGeneration(); err != nil {
		return "nf_tables"
	}
	for _, f := range []struct {
		module, kind string
		exprs        []nftExpr
	}{
		{"nf_tables for IPv4 (nf_tables_ipv4)", "filter", nil},
		{"nft_fib (nft_fib_ipv4)", "filter", matchLocal(unix.NFT_CMP_EQ)},
		{"nft_ct", "filter", slices.Concat(setZone(DefaultFallbackZone), []nftExpr{exprNotrack()})},
		{"nft_chain_nat", "nat", nil},
		{"nft_masq", "nat", []nftExpr{{name: "masq"}}},
	} {
		const table, chain = "nodelocaldns_try", "try"
		hook, priority := uint32(unix.NF_INET_PRE_ROUTING), int32(priorityRewrite)
		if f.kind == "nat" {
			hook, priority = unix.NF_INET_POST_ROUTING, priorityMasquerade
		}
		var b nftBatch
		b.addTable(unix.NFPROTO_IPV4, table)
		b.addChain(unix.NFPROTO_IPV4, table, chain, f.kind, hook, priority)
		b.addRule(unix.NFPROTO_IPV4, table, chain, commentAway, f.exprs...)
		b.delTable(unix.NFPROTO_IPV4, table)
		err := b.commit()
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return f.module
		}
	}
	return ""
}
