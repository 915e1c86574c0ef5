// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// An Chain names one chain in the kernel's nf_tables, iptables-nft's among them.
type Chain struct {
	Family      family.Family
	Table, Name string
	written     int // how many rules it was filled with, where all its rules count
}

// A Watch tells cheaply whether rules are still those that were recorded:
// one netlink message while nobody changes any rule of the network namespace,
// and a dump of few chains when somebody did. It starts no process.
type Watch struct {
	Chains []Chain
	// Marker, if set, selects the rules that contain it, and they are told by
	// their handles: iptables' rules have counters, so their content changes.
	// Without it all rules count, and are told by their content, so that the
	// same rules set by another instance are the same.
	Marker string
	gen    uint32
	print  string // empty: not what it should be
}

// Record takes the rules as they stand for right, if they are as many as were
// written: somebody may have taken them away since, and the next look has to say so.
func (w *Watch) Record() error {
	gen, err := Generation()
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

// Recorded reports whether the rules were ever recorded.
func (w *Watch) Recorded() bool { return w.gen != 0 }

// Intact reports whether the rules are as recorded; without a record they are not.
func (w *Watch) Intact() (bool, error) {
	gen, err := Generation()
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
func (w *Watch) fingerprint() (print string, whole bool, err error) {
	c, err := Dial()
	if err != nil {
		return "", false, err
	}
	defer c.Close()
	var b strings.Builder
	whole = true
	for _, chain := range w.Chains {
		rules, err := chain.Rules(c, w.Marker)
		if err != nil {
			return "", false, fmt.Errorf("listing chain %s of table %s: %w", chain.Name, chain.Table, err)
		}
		fmt.Fprintf(&b, "%d %s %s %x\n", chain.Family, chain.Table, chain.Name, rules)
		whole = whole && (w.Marker != "" || len(rules) == chain.written)
	}
	return b.String(), whole, nil
}

// Rules returns handle or content of ch's rules, in their order; a chain that
// does not exist has none.
func (ch Chain) Rules(c *netlink.Conn, marker string) ([][]byte, error) {
	msgs, err := c.Execute(Message(unix.NFT_MSG_GETRULE, ch.Family, netlink.Request|netlink.Dump, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, ch.Table)
		ae.String(unix.NFTA_RULE_CHAIN, ch.Name)
	}))
	if err != nil {
		return nil, cause(err)
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

// Generation returns the number of the last transaction in this network namespace.
func Generation() (uint32, error) {
	c, err := Dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	msgs, err := c.Execute(Message(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, netlink.Request, func(*netlink.AttributeEncoder) {}))
	if err != nil {
		return 0, fmt.Errorf("asking nf_tables for its generation: %w", cause(err))
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

// TableExists reports whether there is a table of that name. A kernel without
// nf_tables has none.
func TableExists(f family.Family, name string) (bool, error) {
	c, err := Dial()
	if err == nil {
		defer c.Close()
		_, err = c.Execute(Message(unix.NFT_MSG_GETTABLE, f, netlink.Request, func(ae *netlink.AttributeEncoder) {
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

// RemoveTables deletes the tables of that name of the families, if they are there.
func RemoveTables(name string, fams ...family.Family) error {
	var errs []error
	for _, f := range fams {
		exists, err := TableExists(f, name)
		if err == nil && exists {
			var b Batch
			b.DeleteTable(f, name)
			err = b.Commit()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing nftables table %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
