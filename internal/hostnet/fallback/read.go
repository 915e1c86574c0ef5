// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"bytes"
	"encoding/binary"
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

// readRewrites reads the fallback table of one family, whichever instance made it.
func readRewrites(f family.Family) ([]rewrite, error) {
	rules, err := nft.Chain{Family: f, Table: Name, Name: "prerouting"}.Rules("")
	var out []rewrite
	for _, rule := range rules {
		if w, ok := parseRewrite(rule); ok {
			out = append(out, w)
		}
	}
	return out, err
}

// parseRewrite is the opposite of route.queries. It is not ok for the other rules of that chain, which rewrite
// nothing.
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
	for _, fam := range family.Among(f.Addresses()) {
		rewrites, err := readRewrites(fam)
		if err != nil {
			return false
		}
		for _, a := range f.Addresses() {
			here := func(w rewrite) bool { return w.addr == a && w.port == f.port }
			anyCase := func(w rewrite) bool { return here(w) && w.anyCase }
			if family.Of(a) == fam && (!slices.ContainsFunc(rewrites, here) || slices.ContainsFunc(rewrites, anyCase)) {
				return false
			}
		}
	}
	return true
}
