// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// A rewrite is what one rule of the fallback table says of the queries that it rewrites.
type rewrite struct {
	addr    netip.Addr
	port    uint16
	anyCase bool // also while the address is on this host
}

// parseRewrite is the opposite of route.queries. The other rules of that chain rewrite nothing, and ok is false.
func parseRewrite(rule []byte) (w rewrite, ok bool) {
	var compared [][]byte // address, protocol and port, and more
	for _, expr := range nft.Attributes(rule, unix.NFTA_LIST_ELEM) {
		switch nft.Text(expr, unix.NFTA_EXPR_NAME) {
		case "cmp":
			compared = append(compared, nft.Attribute(expr, unix.NFTA_EXPR_DATA, unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE))
		case "immediate":
			ok = true
		}
	}
	if !ok || len(compared) < 3 || len(compared[2]) != 2 {
		return w, false
	}
	w.addr, ok = netip.AddrFromSlice(compared[0])
	w.port = binary.BigEndian.Uint16(compared[2])
	for _, value := range compared[3:] {
		w.anyCase = w.anyCase || bytes.Equal(value, nft.HostUint32(steering.SelfQueryMark))
	}
	return w, ok
}

// IsLeft reports whether a table is there that answers for all of f's addresses as Leave makes it, with whatever
// target. A table that cannot be read is none.
func (f *Table) IsLeft() bool {
	for _, a := range f.Addresses() {
		rules, err := nft.Chain{Family: family.Of(a), Table: Name, Name: "prerouting"}.Rules("")
		answers, anyCase := false, false
		for _, rule := range rules {
			if w, ok := parseRewrite(rule); ok && w.addr == a && w.port == f.port {
				answers, anyCase = true, anyCase || w.anyCase
			}
		}
		if err != nil || !answers || anyCase {
			return false
		}
	}
	return true
}

// Lacks returns the name of the first kernel module that the fallback table needs and the kernel lacks; an empty
// string if there is none. Each module is tried in a table that the same transaction makes and deletes.
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
		const table = "nodelocaldns_try"
		err := new(nft.Watch).Write([]family.Family{family.IPv4}, table, commentAway, (*nft.Batch).AddTable, func(t *nft.Table) {
			t.Chain("try", f.kind, unix.NF_INET_POST_ROUTING, priorityMasquerade) // each kind and expression may stand there
			t.Rule(f.exprs...)
			t.Delete()
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return f.module
		}
	}
	return ""
}
