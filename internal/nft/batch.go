// SPDX-License-Identifier: Apache-2.0

// Package nft speaks nf_tables over netlink. It knows no DNS. github.com/google/nftables would do but for one
// expression, `ct original zone set` (it sends no direction with a zone), and expressions cannot be added to it from
// outside. The numbers are those of the kernel's include/uapi/linux/netfilter/nf_tables.h.
package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// ARP is the family of tables whose rules see ARP packets.
const ARP family.Family = unix.NFPROTO_ARP

// timeout bounds one transaction or dump; the kernel answers in microseconds.
const timeout = 5 * time.Second

// A Batch is a transaction: all of it takes effect at once, or none.
type Batch struct{ msgs []netlink.Message }

func (b *Batch) add(msg int, f family.Family, flags netlink.HeaderFlags, attrs ...netlink.Attribute) {
	b.msgs = append(b.msgs, message(msg, f, flags|netlink.Request|netlink.Acknowledge, attrs))
}

// header is the length of struct nfgenmsg, which the attributes follow.
const header = 4

func message(msg int, f family.Family, flags netlink.HeaderFlags, attrs []netlink.Attribute) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg), Flags: flags},
		Data:   append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, marshal(attrs)...),
	}
}

func marshal(attrs []netlink.Attribute) []byte {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		panic(fmt.Sprintf("nft: encoding an nf_tables message: %v", err)) // of an attribute whose length is given, and none is
	}
	return data
}

// Attributes of nf_tables are in network byte order.

func raw(kind uint16, v []byte) netlink.Attribute { return netlink.Attribute{Type: kind, Data: v} }
func num(kind uint16, v uint32) netlink.Attribute {
	return raw(kind, binary.BigEndian.AppendUint32(nil, v))
}
func text(kind uint16, s string) netlink.Attribute { return raw(kind, []byte(s+"\x00")) }

func nested(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
	return raw(kind|netlink.Nested, marshal(attrs))
}

// AddTable adds an empty table, or finds the one that is there.
func (b *Batch) AddTable(f family.Family, name string) {
	b.add(unix.NFT_MSG_NEWTABLE, f, netlink.Create, text(unix.NFTA_TABLE_NAME, name), num(unix.NFTA_TABLE_FLAGS, 0))
}

// DeleteTable deletes a table with all it holds; it must exist.
func (b *Batch) DeleteTable(f family.Family, name string) {
	b.add(unix.NFT_MSG_DELTABLE, f, 0, text(unix.NFTA_TABLE_NAME, name))
}

// ReplaceTable leaves an empty table whether or not one was there.
func (b *Batch) ReplaceTable(f family.Family, name string) {
	b.AddTable(f, name)
	b.DeleteTable(f, name)
	b.AddTable(f, name)
}

// A Table writes chains, filled anew, with their rules, which all have one comment.
type Table struct {
	Family        family.Family
	batch         *Batch
	watch         *Watch // notes the chains
	name, comment string
}

// Write writes the tables of that name of the families, all at once, and has the Watch watch their chains. Each table begins with
// begin, which is Batch.AddTable or Batch.ReplaceTable. The rest is for write.
func (w *Watch) Write(fams []family.Family, name, comment string,
	begin func(*Batch, family.Family, string), write func(*Table)) error {
	var b Batch
	w.Chains = nil
	for _, f := range fams {
		begin(&b, f, name)
		write(&Table{f, &b, w, name, comment})
	}
	return b.Commit()
}

// Delete deletes the table that was written.
func (t *Table) Delete() { t.batch.DeleteTable(t.Family, t.name) }

// Chain adds a chain of kind "filter", "nat" or "route" that the kernel calls at a hook; a chain of that name is emptied.
func (t *Table) Chain(name, kind string, hooknum uint32, priority int32) {
	t.batch.add(unix.NFT_MSG_NEWCHAIN, t.Family, netlink.Create,
		text(unix.NFTA_CHAIN_TABLE, t.name),
		text(unix.NFTA_CHAIN_NAME, name),
		nested(unix.NFTA_CHAIN_HOOK, num(unix.NFTA_HOOK_HOOKNUM, hooknum), num(unix.NFTA_HOOK_PRIORITY, uint32(priority))),
		text(unix.NFTA_CHAIN_TYPE, kind))
	t.batch.add(unix.NFT_MSG_DELRULE, t.Family, 0, text(unix.NFTA_RULE_TABLE, t.name), text(unix.NFTA_RULE_CHAIN, name))
	t.watch.Chains = append(t.watch.Chains, Chain{Family: t.Family, Table: t.name, Name: name})
}

// Rule adds a rule to the chain that was written last.
func (t *Table) Rule(exprs ...Expr) {
	ch := &t.watch.Chains[len(t.watch.Chains)-1]
	ch.written++
	var list []netlink.Attribute
	for _, e := range exprs {
		list = append(list, nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, e.name), nested(unix.NFTA_EXPR_DATA, e.attrs...)))
	}
	// User data in libnftnl's form: type 0 (comment), length, text with a NUL.
	userdata := append([]byte{0, byte(len(t.comment) + 1)}, t.comment+"\x00"...)
	t.batch.add(unix.NFT_MSG_NEWRULE, t.Family, netlink.Create|netlink.Append, text(unix.NFTA_RULE_TABLE, t.name),
		text(unix.NFTA_RULE_CHAIN, ch.Name), nested(unix.NFTA_RULE_EXPRESSIONS, list...), raw(unix.NFTA_RULE_USERDATA, userdata))
}

// Commit sends b. The error is that of the first message that the kernel refused.
func (b *Batch) Commit() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	edge := func(msg netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: msg, Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	msgs := append([]netlink.Message{edge(unix.NFNL_MSG_BATCH_BEGIN)}, b.msgs...)
	if _, err := c.SendMessages(append(msgs, edge(unix.NFNL_MSG_BATCH_END))); err != nil {
		return fmt.Errorf("sending to nf_tables: %w", cause(err))
	}
	// What was sent may have waited for a long transaction of somebody else's, and is done now.
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	for acks := 0; acks < len(b.msgs); {
		replies, err := c.Receive()
		if err != nil {
			return fmt.Errorf("changing nf_tables: %w", cause(err))
		}
		acks += len(replies)
	}
	return nil
}

func dial() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket to nf_tables: %w", cause(err))
	}
	return c, errors.Join(c.SetDeadline(time.Now().Add(timeout)), c.SetReadBuffer(1<<20))
}

// cause strips the netlink package's words and explains what a kernel lacks. Of nil it makes nil.
func cause(err error) error {
	var op *netlink.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		err = fmt.Errorf("%w (the kernel lacks nf_tables or one of nft_fib, nft_ct)", err)
	}
	return err
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
