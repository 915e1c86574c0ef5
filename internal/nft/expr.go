// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file has the few expressions that our rules are made of.

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

func dataValue(value []byte) func(*netlink.AttributeEncoder) error {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, value)
		return nil
	}
}

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
		ae.Nested(unix.NFTA_CMP_DATA, dataValue(value))
	}}
}

func exprImmediate(value []byte) nftExpr {
	return nftExpr{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, nftReg)
		ae.Nested(unix.NFTA_IMMEDIATE_DATA, dataValue(value))
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

// matchNotPort matches any source port but this.
func matchNotPort(port uint16) []nftExpr {
	return []nftExpr{exprPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2), exprCmp(unix.NFT_CMP_NEQ, binary.BigEndian.AppendUint16(nil, port))}
}

func matchMark(op, mark uint32) []nftExpr {
	return []nftExpr{exprMeta(unix.NFT_META_MARK), exprCmp(op, hostUint32(mark))}
}

func matchNotLoopback() []nftExpr {
	return []nftExpr{exprMeta(unix.NFT_META_OIFNAME), exprCmp(unix.NFT_CMP_NEQ, append([]byte("lo"), make([]byte, unix.IFNAMSIZ-2)...))}
}

const tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10

// matchTCPFlags matches TCP packets whose flags under mask are want.
func matchTCPFlags(mask, want byte) []nftExpr {
	return []nftExpr{exprPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1), {"bitwise", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, nftReg)
		ae.Uint32(unix.NFTA_BITWISE_DREG, nftReg)
		ae.Uint32(unix.NFTA_BITWISE_LEN, 1)
		ae.Nested(unix.NFTA_BITWISE_MASK, dataValue([]byte{mask}))
		ae.Nested(unix.NFTA_BITWISE_XOR, dataValue([]byte{0}))
	}}, exprCmp(unix.NFT_CMP_EQ, []byte{want})}
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

// drop ends the packet's way (NF_DROP).
func drop() []nftExpr {
	return []nftExpr{{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		ae.Nested(unix.NFTA_IMMEDIATE_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.NFTA_DATA_VERDICT, func(ae *netlink.AttributeEncoder) error {
				ae.Uint32(unix.NFTA_VERDICT_CODE, 0)
				return nil
			})
			return nil
		})
	}}}
}

// destinationNAT maps the connection to a.
func destinationNAT(a netip.Addr) []nftExpr {
	return []nftExpr{exprImmediate(a.AsSlice()), {"nat", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		ae.Uint32(unix.NFTA_NAT_FAMILY, uint32(nftFamily(a.Is6())))
		ae.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, nftReg)
	}}}
}

// An nftSet remembers clients, by address and port, for a time.
type nftSet struct {
	family byte
	table  string
	name   string
	keyLen uint32 // of address and port, each padded to 4 bytes
	ttl    uint64 // milliseconds
}

// loadClient puts source address and port where the set's expressions look for them.
func (s nftSet) loadClient() []nftExpr {
	six := s.family == unix.NFPROTO_IPV6
	offset, length := addrField(six, true)
	load := func(reg, base, offset, length uint32) nftExpr {
		return nftExpr{"payload", func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_PAYLOAD_DREG, reg)
			ae.Uint32(unix.NFTA_PAYLOAD_BASE, base)
			ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
			ae.Uint32(unix.NFTA_PAYLOAD_LEN, length)
		}}
	}
	return []nftExpr{
		load(unix.NFT_REG32_00, unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length),
		load(unix.NFT_REG32_00+length/4, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2),
	}
}

// matchKnown matches clients in the set.
func (s nftSet) matchKnown() []nftExpr {
	return append(s.loadClient(), nftExpr{"lookup", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_LOOKUP_SET, s.name)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, unix.NFT_REG32_00)
	}})
}

// forget takes the client out of the set. Kernels before 5.4 refuse it
// (d0a8d877da97, netfilter: nft_dynset: support for element deletion).
func (s nftSet) forget() []nftExpr {
	return append(s.loadClient(), nftExpr{"dynset", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_DYNSET_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_DYNSET_OP, dynsetDelete)
		ae.Uint32(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG32_00)
	}})
}

// dynsetDelete is NFT_DYNSET_OP_DELETE (include/uapi/linux/netfilter/nf_tables.h).
const dynsetDelete = 2

// remember puts the client into the set, or renews its time there. A full set
// ends the rule.
func (s nftSet) remember() []nftExpr {
	return append(s.loadClient(), nftExpr{"dynset", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_DYNSET_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
		ae.Uint32(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG32_00)
		ae.Uint64(unix.NFTA_DYNSET_TIMEOUT, s.ttl)
	}})
}
