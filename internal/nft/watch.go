// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// An nftChain names one chain in the kernel's nf_tables, iptables-nft's among them.
type nftChain struct {
	family      byte
	table, name string
	written     int // how many rules it was filled with, where all its rules count
}

// An nftWatch tells cheaply whether rules are still those that were recorded:
// one netlink message while nobody changes any rule of the network namespace,
// and a dump of few chains when somebody did. It starts no process.
type nftWatch struct {
	chains []nftChain
	// marker, if set, selects the rules that contain it, and they are told by
	// their handles: iptables' rules have counters, so their content changes.
	// Without it all rules count, and are told by their content, so that the
	// same rules set by another instance are the same.
	marker string
	gen    uint32
	print  string // empty: not what it should be
}

// record takes the rules as they stand for right, if they are as many as were
// written: somebody may have taken them away since, and the next look has to say so.
func (w *nftWatch) record() error {
	gen, err := nftGeneration()
	if err != nil {
		return err
	}
	print, whole, err := w.fingerprint()
	if err != nil {
		return err
	}
	w.gen, w.print = gen, print
	if !whole {
		w.print = ""
	}
	return nil
}

// intact reports whether the rules are as recorded; without a record they are not.
func (w *nftWatch) intact() (bool, error) {
	gen, err := nftGeneration()
	if err != nil || gen == w.gen && w.print != "" {
		return err == nil, err
	}
	print, _, err := w.fingerprint()
	if err != nil {
		return false, err
	}
	if print == w.print && print != "" {
		w.gen = gen
		return true, nil
	}
	return false, nil
}

// fingerprint describes the rules as they stand; whole says that they are as
// many as were written.
func (w *nftWatch) fingerprint() (print string, whole bool, err error) {
	c, err := nftDial()
	if err != nil {
		return "", false, err
	}
	defer c.Close()
	var b strings.Builder
	whole = true
	for _, chain := range w.chains {
		rules, err := chain.rules(c, w.marker)
		if err != nil {
			return "", false, fmt.Errorf("listing chain %s of table %s: %w", chain.name, chain.table, err)
		}
		fmt.Fprintf(&b, "%d %s %s %x\n", chain.family, chain.table, chain.name, rules)
		whole = whole && (w.marker != "" || len(rules) == chain.written)
	}
	return b.String(), whole, nil
}

// rules returns handle or content of ch's rules, in their order; a chain that
// does not exist has none.
func (ch nftChain) rules(c *netlink.Conn, marker string) ([][]byte, error) {
	msgs, err := c.Execute(nftMessage(unix.NFT_MSG_GETRULE, ch.family, netlink.Request|netlink.Dump, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, ch.table)
		ae.String(unix.NFTA_RULE_CHAIN, ch.name)
	}))
	if err != nil {
		return nil, nftCause(err)
	}
	want := uint16(unix.NFTA_RULE_EXPRESSIONS)
	if marker != "" {
		want = unix.NFTA_RULE_HANDLE
	}
	var rules [][]byte
	for _, m := range msgs {
		if !bytes.Contains(m.Data, []byte(marker)) {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, err
		}
		for ad.Next() {
			if ad.Type() == want {
				rules = append(rules, ad.Bytes())
			}
		}
		if err := ad.Err(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// nftGeneration returns the number of the last transaction in this network namespace.
func nftGeneration() (uint32, error) {
	c, err := nftDial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	msgs, err := c.Execute(nftMessage(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, netlink.Request, func(*netlink.AttributeEncoder) {}))
	if err != nil {
		return 0, fmt.Errorf("asking nf_tables for its generation: %w", nftCause(err))
	}
	for _, m := range msgs {
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, err
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, fmt.Errorf("asking nf_tables for its generation: an answer without a number")
}

// nftTableExists reports whether there is a table of that name. A kernel without
// nf_tables has none.
func nftTableExists(family byte, name string) (bool, error) {
	c, err := nftDial()
	if err == nil {
		defer c.Close()
		_, err = c.Execute(nftMessage(unix.NFT_MSG_GETTABLE, family, netlink.Request, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_TABLE_NAME, name)
		}))
	}
	for _, absent := range []error{unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if errors.Is(err, absent) {
			return false, nil
		}
	}
	return err == nil, err
}
