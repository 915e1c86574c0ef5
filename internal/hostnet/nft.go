// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file speaks nf_tables over netlink: what a transaction is, and the few
// expressions that our rules are made of. github.com/google/nftables would do
// but for one expression, `ct original zone set` (it sends no direction with a
// zone), and expressions cannot be added to it from outside. The numbers are
// those of the kernel's include/uapi/linux/netfilter/nf_tables.h.

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

// An nftExpr is one step of a rule, as libnftnl names it.
type nftExpr struct {
	name string
	data func(*netlink.AttributeEncoder)
}

func (e nftExpr) encode(ae *netlink.AttributeEncoder) error {
	ae.String(unix.NFTA_EXPR_NAME, e.name)
	ae.Nested(unix.NFTA_EXPR_DATA, func(ae *netlink.AttributeEncoder) error {
		if e.data != nil {
			e.data(ae)
		}
		return nil
	})
	return nil
}

const nftReg = unix.NFT_REG_1 // 16 bytes: holds any value of ours

func hostUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
func hostUint16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

func exprMeta(key uint32) nftExpr {
	return nftExpr{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_DREG, nftReg)
		ae.Uint32(unix.NFTA_META_KEY, key)
	}}
}

func exprPayload(base, offset, length uint32) nftExpr {
	return nftExpr{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_DREG, nftReg)
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, base)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, length)
	}}
}

func exprCmp(op uint32, value []byte) nftExpr {
	return nftExpr{"cmp", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CMP_SREG, nftReg)
		ae.Uint32(unix.NFTA_CMP_OP, op)
		ae.Nested(unix.NFTA_CMP_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(unix.NFTA_DATA_VALUE, value)
			return nil
		})
	}}
}

func exprImmediate(value []byte) nftExpr {
	return nftExpr{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, nftReg)
		ae.Nested(unix.NFTA_IMMEDIATE_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(unix.NFTA_DATA_VALUE, value)
			return nil
		})
	}}
}

func exprCt(key uint32) nftExpr {
	return nftExpr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_DREG, nftReg)
		ae.Uint32(unix.NFTA_CT_KEY, key)
	}}
}

// The sequences below each match or do one thing.

func matchProto(proto string) []nftExpr {
	n := map[string]byte{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[proto]
	return []nftExpr{exprMeta(unix.NFT_META_L4PROTO), exprCmp(unix.NFT_CMP_EQ, []byte{n})}
}

// addrField returns offset and length of the source or destination address in the IP header.
func addrField(six, source bool) (offset, length uint32) {
	switch {
	case six && source:
		return 8, 16
	case six:
		return 24, 16
	case source:
		return 12, 4
	}
	return 16, 4
}

func matchAddr(a netip.Addr, source bool) []nftExpr {
	offset, length := addrField(a.Is6(), source)
	return []nftExpr{exprPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length), exprCmp(unix.NFT_CMP_EQ, a.AsSlice())}
}

func matchPort(port uint16, source bool) []nftExpr {
	offset := uint32(2)
	if source {
		offset = 0
	}
	return []nftExpr{exprPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2), exprCmp(unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, port))}
}

func matchMark(op, mark uint32) []nftExpr {
	return []nftExpr{exprMeta(unix.NFT_META_MARK), exprCmp(op, hostUint32(mark))}
}

func matchNotLoopback() []nftExpr {
	return []nftExpr{exprMeta(unix.NFT_META_OIFNAME), exprCmp(unix.NFT_CMP_NEQ, append([]byte("lo"), make([]byte, unix.IFNAMSIZ-2)...))}
}

// matchLocal matches by whether the destination is an address of this host.
func matchLocal(op uint32) []nftExpr {
	return []nftExpr{{"fib", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_FIB_DREG, nftReg)
		ae.Uint32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		ae.Uint32(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	}}, exprCmp(op, hostUint32(unix.RTN_LOCAL))}
}

// matchReplyInZone matches the answers of connections that setZone put into zone.
func matchReplyInZone(zone uint16) []nftExpr {
	const reply = 1 // IP_CT_DIR_REPLY
	return []nftExpr{
		exprCt(unix.NFT_CT_DIRECTION), exprCmp(unix.NFT_CMP_EQ, []byte{reply}),
		exprCt(unix.NFT_CT_ZONE), exprCmp(unix.NFT_CMP_EQ, hostUint16(zone)),
	}
}

// setZone puts the packet's connection into a zone for its original direction
// only; its answers, which know nothing of the zone, are still found.
func setZone(zone uint16) []nftExpr {
	const original = 0 // IP_CT_DIR_ORIGINAL
	return []nftExpr{exprImmediate(hostUint16(zone)), {"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_SREG, nftReg)
		ae.Uint32(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE)
		ae.Uint8(unix.NFTA_CT_DIRECTION, original)
	}}}
}

// setAddr rewrites the source or destination address and mends the checksums.
func setAddr(a netip.Addr, source bool) []nftExpr {
	offset, length := addrField(a.Is6(), source)
	return []nftExpr{exprImmediate(a.AsSlice()), {"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_SREG, nftReg)
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, length)
		if a.Is4() {
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET)
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, 10)
		} else {
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_NONE)
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, 0)
		}
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_FLAGS, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR)
	}}}
}

func exprNotrack() nftExpr { return nftExpr{name: "notrack"} }
