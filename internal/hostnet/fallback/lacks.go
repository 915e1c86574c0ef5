// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Lacks returns the name of the first kernel module that the fallback table needs and the kernel has not, or an empty
// string. Each is tried in a table that is deleted by the transaction that makes it.
func Lacks() string {
	if _, err := nft.Generation(); err != nil {
		return "nf_tables"
	}
	for _, f := range []struct {
		module, kind string
		exprs        []nft.Expr
	}{
		{"nf_tables for IPv4 (nf_tables_ipv4)", "filter", nil},
		{"nft_fib (nft_fib_ipv4)", "filter", nft.MatchLocal(unix.NFT_CMP_EQ)},
		{"nft_ct", "filter", slices.Concat(nft.SetZone(1), []nft.Expr{nft.Notrack()})},
		{"nft_chain_nat", "nat", nil},
		{"nft_masq", "nat", []nft.Expr{nft.Masquerade()}},
	} {
		const table, chain = "nodelocaldns_try", "try"
		hook, priority := uint32(unix.NF_INET_PRE_ROUTING), int32(priorityRewrite)
		if f.kind == "nat" {
			hook, priority = unix.NF_INET_POST_ROUTING, priorityMasquerade
		}
		var b nft.Batch
		b.AddTable(family.IPv4, table)
		b.AddChain(family.IPv4, table, chain, f.kind, hook, priority)
		b.AddRule(family.IPv4, table, chain, commentAway, f.exprs...)
		b.DeleteTable(family.IPv4, table)
		err := b.Commit()
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return f.module
		}
	}
	return ""
}
