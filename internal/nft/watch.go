// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// ask sends one request and returns the attributes of each answer.
func ask(msg int, f family.Family, flags netlink.HeaderFlags, attrs ...netlink.Attribute) (answers [][]byte, err error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	msgs, err := c.Execute(message(msg, f, flags|netlink.Request, attrs))
	for _, m := range msgs {
		if len(m.Data) > header {
			answers = append(answers, m.Data[header:])
		}
	}
	return answers, cause(err)
}

// Generation returns the number of the last transaction in this network namespace.
func Generation() (uint32, error) {
	answers, err := ask(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0)
	if err != nil {
		return 0, fmt.Errorf("asking nf_tables for its generation: %w", err)
	}
	for _, a := range answers {
		if id := Attribute(a, unix.NFTA_GEN_ID); len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, fmt.Errorf("asking nf_tables for its generation: an answer without a number")
}

// TableExists reports whether there is a table of that name. A kernel without nf_tables has none.
func TableExists(f family.Family, name string) (bool, error) {
	_, err := ask(unix.NFT_MSG_GETTABLE, f, 0, text(unix.NFTA_TABLE_NAME, name))
	for _, absent := range []error{unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if errors.Is(err, absent) {
			return false, nil
		}
	}
	return err == nil, err
}

// AnyTable reports whether IPv4 or IPv6 has a table of that name. One that cannot be seen counts as absent.
func AnyTable(name string) bool {
	return slices.ContainsFunc(family.Both, func(f family.Family) bool {
		ok, err := TableExists(f, name)
		return ok && err == nil
	})
}

// ChainNames returns the names of the chains of a table; none if it cannot be seen.
func ChainNames(f family.Family, table string) (names []string) {
	chains, _ := ask(unix.NFT_MSG_GETCHAIN, f, netlink.Dump)
	for _, c := range chains {
		if Text(c, unix.NFTA_CHAIN_TABLE) == table {
			names = append(names, Text(c, unix.NFTA_CHAIN_NAME))
		}
	}
	return names
}

// Rules returns the rules of ch, in their order: their content, or, with a marker, the handles of those that contain
// it. A chain that does not exist has none.
func (ch Chain) Rules(marker string) (rules [][]byte, err error) {
	answers, err := ask(unix.NFT_MSG_GETRULE, ch.Family, netlink.Dump, text(unix.NFTA_RULE_TABLE, ch.Table), text(unix.NFTA_RULE_CHAIN, ch.Name))
	want := uint16(unix.NFTA_RULE_EXPRESSIONS)
	if marker != "" {
		want = unix.NFTA_RULE_HANDLE
	}
	for _, a := range answers {
		if bytes.Contains(a, []byte(marker)) {
			rules = append(rules, Attributes(a, want)...)
		}
	}
	return rules, err
}

// Text returns the string that Attribute finds.
func Text(data []byte, path ...uint16) string {
	return string(bytes.TrimRight(Attribute(data, path...), "\x00"))
}

// Attribute returns the first attribute of the first type, in that the first of the next, and so on; nil if there is
// none.
func Attribute(data []byte, path ...uint16) []byte {
	for _, kind := range path {
		found := Attributes(data, kind)
		if len(found) == 0 {
			return nil
		}
		data = found[0]
	}
	return data
}

// Attributes returns the values of the attributes of that type.
func Attributes(data []byte, kind uint16) (values [][]byte) {
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

// A Chain names one chain in the kernel's nf_tables; iptables-nft's chains are there, too.
type Chain struct {
	Family      family.Family
	Table, Name string
	written     int // how many rules it was filled with, where all its rules count
}

// A Watch tells whether rules are still those that were recorded. While nobody changes any rule of the network
// namespace, that takes one netlink message; after a change, the watched chains are read. It starts no process.
type Watch struct {
	Chains []Chain
	// Marker, if set, selects the rules that contain it, and they are told by their handles: iptables' rules have
	// counters, so their content changes. Without it all rules count, and are told by their content, so that the same
	// rules set by another instance are the same.
	Marker string
	gen    uint32
	print  string // empty: not what it should be
}

// Record takes the rules as they are now for right. If there are fewer or more than were written, somebody has
// changed them already, and Intact will say so.
func (w *Watch) Record() error {
	gen, err := Generation()
	if err != nil {
		return err
	}
	print, err := w.fingerprint()
	if err == nil {
		w.gen, w.print = gen, print
	}
	return err
}

// Recorded reports whether the rules were ever recorded.
func (w *Watch) Recorded() bool { return w.gen != 0 }

// Intact reports whether the rules are as recorded; without a record they are not.
func (w *Watch) Intact() (bool, error) {
	gen, err := Generation()
	if err != nil || gen == w.gen && w.print != "" {
		return err == nil, err
	}
	print, err := w.fingerprint()
	if err != nil || print != w.print || print == "" {
		return false, err
	}
	w.gen = gen
	return true, nil
}

// fingerprint describes the rules as they stand. It is empty if they are not as many as were written.
func (w *Watch) fingerprint() (string, error) {
	var b strings.Builder
	for _, chain := range w.Chains {
		rules, err := chain.Rules(w.Marker)
		if err != nil {
			return "", fmt.Errorf("listing chain %s of table %s: %w", chain.Name, chain.Table, err)
		}
		if w.Marker == "" && len(rules) != chain.written {
			return "", nil
		}
		fmt.Fprintf(&b, "%d %s %s %x\n", chain.Family, chain.Table, chain.Name, rules)
	}
	return b.String(), nil
}
