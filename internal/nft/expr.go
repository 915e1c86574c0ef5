// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// This file has the few expressions that our rules are made of.

// An Expr is one step of a rule, as libnftnl names it.
type Expr struct {
	name  string
	attrs []netlink.Attribute
}

func expr(name string, attrs ...netlink.Attribute) Expr { return Expr{name, attrs} }

const reg = unix.NFT_REG_1 // 16 bytes: holds any value of ours

// HostUint32 returns v as registers hold it.
func HostUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
func hostUint16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

func value(kind uint16, v []byte) netlink.Attribute {
	return nested(kind, raw(unix.NFTA_DATA_VALUE, v))
}

func exprMeta(key uint32) Expr {
	return expr("meta", num(unix.NFTA_META_DREG, reg), num(unix.NFTA_META_KEY, key))
}

// load puts bytes of a packet's header into a register.
func load(register, base, offset, length uint32) Expr {
	return expr("payload", num(unix.NFTA_PAYLOAD_DREG, register), num(unix.NFTA_PAYLOAD_BASE, base),
		num(unix.NFTA_PAYLOAD_OFFSET, offset), num(unix.NFTA_PAYLOAD_LEN, length))
}

// matchHeader compares bytes of the header of IP or ARP, or of TCP or UDP.
func matchHeader(base, offset, op uint32, v []byte) []Expr {
	return []Expr{load(reg, base, offset, uint32(len(v))), exprCmp(op, v)}
}

func exprCmp(op uint32, v []byte) Expr {
	return expr("cmp", num(unix.NFTA_CMP_SREG, reg), num(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, v))
}

func exprImmediate(v []byte) Expr {
	return expr("immediate", num(unix.NFTA_IMMEDIATE_DREG, reg), value(unix.NFTA_IMMEDIATE_DATA, v))
}

func exprCt(key uint32) Expr {
	return expr("ct", num(unix.NFTA_CT_DREG, reg), num(unix.NFTA_CT_KEY, key))
}

// The sequences below each match or do one thing.

// MatchProto matches proto, "udp" or "tcp".
func MatchProto(proto string) []Expr {
	n := map[string]byte{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[proto]
	return []Expr{exprMeta(unix.NFT_META_L4PROTO), exprCmp(unix.NFT_CMP_EQ, []byte{n})}
}

// addrField returns offset and length of the source or destination address in the IP header.
func addrField(f family.Family, source bool) (offset, length uint32) {
	if offset, length = 12, 4; f == family.IPv6 {
		offset, length = 8, 16
	}
	if !source {
		offset += length
	}
	return offset, length
}

// MatchAddr matches the source or destination address.
func MatchAddr(a netip.Addr, source bool) []Expr {
	offset, _ := addrField(family.Of(a), source)
	return matchHeader(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, unix.NFT_CMP_EQ, a.AsSlice())
}

// MatchPort matches the source or destination port.
func MatchPort(port uint16, source bool) []Expr {
	offset := uint32(2)
	if source {
		offset = 0
	}
	return matchHeader(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, port))
}

// MatchNotPort matches any source port but this.
func MatchNotPort(port uint16) []Expr {
	return matchHeader(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, unix.NFT_CMP_NEQ, binary.BigEndian.AppendUint16(nil, port))
}

// MatchMark compares the packet's mark by op, unix.NFT_CMP_EQ or NFT_CMP_NEQ.
func MatchMark(op, mark uint32) []Expr {
	return []Expr{exprMeta(unix.NFT_META_MARK), exprCmp(op, HostUint32(mark))}
}

// matchName compares the name of an interface by op: that which key, NFT_META_IIFNAME or NFT_META_OIFNAME, is for.
func matchName(key, op uint32, name string) []Expr {
	return []Expr{exprMeta(key), exprCmp(op, append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...))}
}

// MatchInput matches what comes in by an interface.
func MatchInput(name string) []Expr { return matchName(unix.NFT_META_IIFNAME, unix.NFT_CMP_EQ, name) }

// MatchNotLoopback matches what leaves by another interface than lo.
func MatchNotLoopback() []Expr { return matchName(unix.NFT_META_OIFNAME, unix.NFT_CMP_NEQ, "lo") }

// Flags of TCP (RFC 9293, section 3.1).
const FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

// MatchTCPFlags matches TCP packets whose flags under mask are want.
func MatchTCPFlags(mask, want byte) []Expr {
	return []Expr{load(reg, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1),
		expr("bitwise", num(unix.NFTA_BITWISE_SREG, reg), num(unix.NFTA_BITWISE_DREG, reg), num(unix.NFTA_BITWISE_LEN, 1),
			value(unix.NFTA_BITWISE_MASK, []byte{mask}), value(unix.NFTA_BITWISE_XOR, []byte{0})),
		exprCmp(unix.NFT_CMP_EQ, []byte{want})}
}

// MatchLocal matches by whether the destination is an address of this host.
func MatchLocal(op uint32) []Expr {
	return []Expr{expr("fib", num(unix.NFTA_FIB_DREG, reg), num(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE),
		num(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)), exprCmp(op, HostUint32(unix.RTN_LOCAL))}
}

// MatchReplyInZone matches the answers of connections that SetZone put into zone.
func MatchReplyInZone(zone uint16) []Expr {
	const reply = 1 // IP_CT_DIR_REPLY
	return []Expr{
		exprCt(unix.NFT_CT_DIRECTION), exprCmp(unix.NFT_CMP_EQ, []byte{reply}),
		exprCt(unix.NFT_CT_ZONE), exprCmp(unix.NFT_CMP_EQ, hostUint16(zone)),
	}
}

// SetZone puts the packet's connection into a zone for its original direction only. So answers, which know nothing of
// the zone, belong to it, too.
func SetZone(zone uint16) []Expr {
	const original = 0 // IP_CT_DIR_ORIGINAL
	return []Expr{exprImmediate(hostUint16(zone)),
		expr("ct", num(unix.NFTA_CT_SREG, reg), num(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE), raw(unix.NFTA_CT_DIRECTION, []byte{original}))}
}

// SetAddr rewrites the source or destination address, and corrects the checksums.
func SetAddr(a netip.Addr, source bool) []Expr {
	offset, length := addrField(family.Of(a), source)
	sum, at := uint32(unix.NFT_PAYLOAD_CSUM_NONE), uint32(0)
	if a.Is4() {
		sum, at = unix.NFT_PAYLOAD_CSUM_INET, 10
	}
	return []Expr{exprImmediate(a.AsSlice()), expr("payload",
		num(unix.NFTA_PAYLOAD_SREG, reg), num(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
		num(unix.NFTA_PAYLOAD_OFFSET, offset), num(unix.NFTA_PAYLOAD_LEN, length),
		num(unix.NFTA_PAYLOAD_CSUM_TYPE, sum), num(unix.NFTA_PAYLOAD_CSUM_OFFSET, at),
		num(unix.NFTA_PAYLOAD_CSUM_FLAGS, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR))}
}

// Notrack keeps the packet out of connection tracking.
func Notrack() Expr { return Expr{name: "notrack"} }

// Drop ends the packet's way (NF_DROP).
func Drop() []Expr {
	return []Expr{expr("immediate", num(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nested(unix.NFTA_IMMEDIATE_DATA, nested(unix.NFTA_DATA_VERDICT, num(unix.NFTA_VERDICT_CODE, 0))))}
}

// Reject answers a packet of protocol udp or tcp that the host does not want, as a host does on which nobody listens. In
// prerouting it needs Linux 5.9.
func Reject(f family.Family, proto string) Expr {
	if proto == "tcp" {
		return expr("reject", num(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST))
	}
	code := byte(3) // ICMP_PORT_UNREACH
	if f == family.IPv6 {
		code = 4 // ICMPV6_PORT_UNREACH
	}
	return expr("reject", num(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMP_UNREACH), raw(unix.NFTA_REJECT_ICMP_CODE, []byte{code}))
}

// DestinationNAT maps the connection to a.
func DestinationNAT(a netip.Addr) []Expr {
	return []Expr{exprImmediate(a.AsSlice()), expr("nat", num(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT),
		num(unix.NFTA_NAT_FAMILY, uint32(family.Of(a))), num(unix.NFTA_NAT_REG_ADDR_MIN, reg))}
}

// Masquerade gives the connection the source address of the way out.
func Masquerade() Expr { return Expr{name: "masq"} }

// ARPIn is NF_ARP_IN of include/uapi/linux/netfilter_arp.h.
const ARPIn = 0

// MatchARPRequest matches who asks for the link address of a: operation and target in a packet of Ethernet and IPv4
// (RFC 826). An answer that this host has asked for in the name of a has another operation, and is not matched.
func MatchARPRequest(a netip.Addr) []Expr {
	const request = 1
	return append(matchHeader(unix.NFT_PAYLOAD_NETWORK_HEADER, 6, unix.NFT_CMP_EQ, []byte{0, request}),
		matchHeader(unix.NFT_PAYLOAD_NETWORK_HEADER, 24, unix.NFT_CMP_EQ, a.AsSlice())...)
}

// A Set remembers clients, by address and port, for a time.
type Set struct {
	Family family.Family
	Name   string
	TTL    time.Duration // whole milliseconds
}

// loadClient puts source address and port where the set's expressions look for them.
func (s Set) loadClient() []Expr {
	offset, length := addrField(s.Family, true)
	return []Expr{
		load(unix.NFT_REG32_00, unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length),
		load(unix.NFT_REG32_00+length/4, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2),
	}
}

// MatchKnown matches clients in the set.
func (s Set) MatchKnown() []Expr {
	return append(s.loadClient(), expr("lookup", text(unix.NFTA_LOOKUP_SET, s.Name), num(unix.NFTA_LOOKUP_SREG, unix.NFT_REG32_00)))
}

// Forget takes the client out of the set. Kernels before 5.4 refuse it (d0a8d877da97, netfilter: nft_dynset: support
// for element deletion).
func (s Set) Forget() []Expr {
	const dynsetDelete = 2 // NFT_DYNSET_OP_DELETE (include/uapi/linux/netfilter/nf_tables.h)
	return s.change(dynsetDelete)
}

// Remember puts the client into the set, or renews its time there. A full set ends the rule.
func (s Set) Remember() []Expr {
	return s.change(unix.NFT_DYNSET_OP_UPDATE, raw(unix.NFTA_DYNSET_TIMEOUT, s.ttl()))
}

func (s Set) change(op uint32, more ...netlink.Attribute) []Expr {
	return append(s.loadClient(), expr("dynset", append([]netlink.Attribute{text(unix.NFTA_DYNSET_SET_NAME, s.Name),
		num(unix.NFTA_DYNSET_OP, op), num(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG32_00)}, more...)...))
}

func (s Set) ttl() []byte { return binary.BigEndian.AppendUint64(nil, uint64(s.TTL.Milliseconds())) }

// Set adds a set of client addresses and ports that rules fill, or finds it.
func (t *Table) Set(s Set) {
	// Types of nft's own, for its listings: ipv4_addr, ipv6_addr, inet_service; a concatenation has 6 bits for each.
	const ipv4Addr, ipv6Addr, inetService = 7, 8, 13
	addr, length := uint32(ipv4Addr), uint32(4)
	if s.Family == family.IPv6 {
		addr, length = ipv6Addr, 16
	}
	t.batch.add(unix.NFT_MSG_NEWSET, s.Family, netlink.Create,
		text(unix.NFTA_SET_TABLE, t.name),
		text(unix.NFTA_SET_NAME, s.Name),
		num(unix.NFTA_SET_ID, 1),
		num(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL),
		num(unix.NFTA_SET_KEY_TYPE, addr<<6|inetService),
		num(unix.NFTA_SET_KEY_LEN, length+4), // the port is padded to 4 bytes
		raw(unix.NFTA_SET_TIMEOUT, s.ttl()),
		nested(unix.NFTA_SET_DESC, num(unix.NFTA_SET_DESC_SIZE, maxSetSize)))
}

// maxSetSize bounds the memory that a flood of connections takes.
const maxSetSize = 65535
