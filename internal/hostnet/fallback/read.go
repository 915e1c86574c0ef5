// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A rewrite is what one rule of the fallback table says of the queries that it rewrites.
type rewrite struct {
	addr    netip.Addr
	port    uint16
	anyCase bool // also while the address is on this host
}

// readRewrites reads the fallback table of one family, whichever instance made it.
func readRewrites(six bool) ([]rewrite, error) {
	c, err := nftDial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	rules, err := nftChain{family: nftFamily(six), table: fallbackTable, name: "prerouting"}.rules(c, "")
	var out []rewrite
	for _, rule := range rules {
		if w, ok := parseRewrite(rule); ok {
			out = append(out, w)
		}
	}
	return out, err
}

// parseRewrite is the opposite of route.queries. It is not ok for the other rules of that chain, which rewrite nothing.
func parseRewrite(rule []byte) (w rewrite, ok bool) {
	var compared [][]byte // address, protocol and port, and more
	for _, expr := range attributes(rule, unix.NFTA_LIST_ELEM) {
		switch name := attribute(expr, unix.NFTA_EXPR_NAME); string(bytes.TrimRight(name, "\x00")) {
		case "cmp":
			compared = append(compared, attribute(expr, unix.NFTA_EXPR_DATA, unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE))
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
		w.anyCase = w.anyCase || bytes.Equal(value, hostUint32(SelfQueryMark))
	}
	return w, ok
}

// attribute returns the first attribute of the first type, in that the first of the next, and so on; nil if there is none.
func attribute(data []byte, path ...uint16) []byte {
	for _, kind := range path {
		found := attributes(data, kind)
		if len(found) == 0 {
			return nil
		}
		data = found[0]
	}
	return data
}

// attributes returns the values of the attributes of that type.
func attributes(data []byte, kind uint16) (values [][]byte) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	for ad.Next() {
		if ad.Type() == kind {
			values = append(values, ad.Bytes())
		}
	}
	return values
}
