// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file speaks nf_tables over netlink: what a transaction is made of.
// github.com/google/nftables would do but for one expression, `ct original zone
// set` (it sends no direction with a zone), and expressions cannot be added to
// it from outside. The numbers are those of the kernel's
// include/uapi/linux/netfilter/nf_tables.h.

// nftTimeout bounds one transaction or dump; the kernel answers in microseconds.
const nftTimeout = 5 * time.Second

// An nftBatch is a transaction: all of it takes effect at once, or none.
type nftBatch struct{ msgs []netlink.Message }

func (b *nftBatch) add(msg int, family byte, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder)) {
	b.msgs = append(b.msgs, nftMessage(msg, family, flags|netlink.Request|netlink.Acknowledge, encode))
}

func nftMessage(msg int, family byte, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder)) netlink.Message {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	encode(ae)
	data, err := ae.Encode()
	if err != nil {
		panic(fmt.Sprintf("hostnet: encoding an nf_tables message: %v", err)) // only an attribute over 64 KB
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg), Flags: flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	}
}

// addTable adds an empty table, or finds the one that is there.
func (b *nftBatch) addTable(family byte, name string) {
	b.add(unix.NFT_MSG_NEWTABLE, family, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, name)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

// delTable deletes a table with all it holds; it must exist.
func (b *nftBatch) delTable(family byte, name string) {
	b.add(unix.NFT_MSG_DELTABLE, family, 0, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, name) })
}

// replaceTable leaves an empty table whether or not one was there.
func (b *nftBatch) replaceTable(family byte, name string) {
	b.addTable(family, name)
	b.delTable(family, name)
	b.addTable(family, name)
}

func (b *nftBatch) addChain(family byte, table, name, kind string, hooknum uint32, priority int32) {
	b.add(unix.NFT_MSG_NEWCHAIN, family, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, table)
		ae.String(unix.NFTA_CHAIN_NAME, name)
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, hooknum)
			ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
			return nil
		})
		ae.String(unix.NFTA_CHAIN_TYPE, kind)
	})
}

func (b *nftBatch) addRule(family byte, table, chain, comment string, exprs ...nftExpr) {
	b.add(unix.NFT_MSG_NEWRULE, family, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, table)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
			for _, e := range exprs {
				ae.Nested(unix.NFTA_LIST_ELEM, e.encode)
			}
			return nil
		})
		// User data in libnftnl's form: type 0 (comment), length, text with a NUL.
		ae.Bytes(unix.NFTA_RULE_USERDATA, append([]byte{0, byte(len(comment) + 1)}, comment+"\x00"...))
	})
}

// flushChain deletes the rules of a chain.
func (b *nftBatch) flushChain(family byte, table, chain string) {
	b.add(unix.NFT_MSG_DELRULE, family, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, table)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
	})
}

// addSet adds a set of client addresses and ports that rules fill, or finds it.
func (b *nftBatch) addSet(s nftSet) {
	// Types of nft's own, for its listings: ipv4_addr, ipv6_addr, inet_service;
	// a concatenation has 6 bits for each.
	const ipv4Addr, ipv6Addr, inetService = 7, 8, 13
	addr := uint32(ipv4Addr)
	if s.family == unix.NFPROTO_IPV6 {
		addr = ipv6Addr
	}
	b.add(unix.NFT_MSG_NEWSET, s.family, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, s.table)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_ID, 1)
		ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, addr<<6|inetService)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.keyLen)
		ae.Uint64(unix.NFTA_SET_TIMEOUT, s.ttl)
		ae.Nested(unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_SET_DESC_SIZE, maxSetSize)
			return nil
		})
	})
}

// maxSetSize bounds the memory that a flood of connections takes.
const maxSetSize = 65535

// A tableWriter writes chains, filled anew, with their rules, which all have one comment.
type tableWriter struct {
	batch          *nftBatch
	watch          *nftWatch
	family         byte
	table, comment string
}

func (t *tableWriter) chain(name, kind string, hooknum uint32, priority int32) {
	t.batch.addChain(t.family, t.table, name, kind, hooknum, priority)
	t.batch.flushChain(t.family, t.table, name)
	t.watch.chains = append(t.watch.chains, nftChain{family: t.family, table: t.table, name: name})
}

// rule adds a rule to the chain that was written last.
func (t *tableWriter) rule(exprs ...nftExpr) {
	ch := &t.watch.chains[len(t.watch.chains)-1]
	ch.written++
	t.batch.addRule(t.family, t.table, ch.name, t.comment, exprs...)
}

// commit sends b. The error is that of the first message that the kernel refused.
func (b *nftBatch) commit() error {
	c, err := nftDial()
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
		return fmt.Errorf("sending to nf_tables: %w", err)
	}
	// What was sent may have waited for a long transaction of somebody else's, and is done now.
	if err := c.SetDeadline(time.Now().Add(nftTimeout)); err != nil {
		return err
	}
	for acks := 0; acks < len(b.msgs); {
		replies, err := c.Receive()
		if err != nil {
			return fmt.Errorf("changing nf_tables: %w", nftCause(err))
		}
		acks += len(replies)
	}
	return nil
}

func nftDial() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket to nf_tables: %w", nftCause(err))
	}
	return c, errors.Join(c.SetDeadline(time.Now().Add(nftTimeout)), c.SetReadBuffer(1<<20))
}

// nftCause strips the netlink package's words and explains what a kernel lacks.
func nftCause(err error) error {
	var op *netlink.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w (the kernel lacks nf_tables or one of nft_fib, nft_ct)", err)
	}
	return err
}
