// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// A Set remembers clients, by address and port, for a time.
type Set struct {
	Family      family.Family
	Table, Name string
	TTL         time.Duration // whole milliseconds
}

// keyLen is the bytes of address and port, each padded to 4 bytes.
func (s Set) keyLen() uint32 {
	_, length := addrField(s.Family, true)
	return length + 4
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
	return append(s.loadClient(), Expr{"lookup", attrs{
		text(unix.NFTA_LOOKUP_SET, s.Name),
		num(unix.NFTA_LOOKUP_SREG, unix.NFT_REG32_00),
	}})
}

// Forget takes the client out of the set. Kernels before 5.4 refuse it (d0a8d877da97, netfilter: nft_dynset: support
// for element deletion).
func (s Set) Forget() []Expr {
	return append(s.loadClient(), Expr{"dynset", attrs{
		text(unix.NFTA_DYNSET_SET_NAME, s.Name),
		num(unix.NFTA_DYNSET_OP, dynsetDelete),
		num(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG32_00),
	}})
}

// dynsetDelete is NFT_DYNSET_OP_DELETE (include/uapi/linux/netfilter/nf_tables.h).
const dynsetDelete = 2

// Remember puts the client into the set, or renews its time there. A full set ends the rule.
func (s Set) Remember() []Expr {
	return append(s.loadClient(), Expr{"dynset", attrs{
		text(unix.NFTA_DYNSET_SET_NAME, s.Name),
		num(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE),
		num(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG32_00),
		raw(unix.NFTA_DYNSET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(s.TTL.Milliseconds()))),
	}})
}

// AddSet adds a set of client addresses and ports that rules fill, or finds it.
func (b *Batch) AddSet(s Set) {
	// Types of nft's own, for its listings: ipv4_addr, ipv6_addr, inet_service; a concatenation has 6 bits for each.
	const ipv4Addr, ipv6Addr, inetService = 7, 8, 13
	addr := uint32(ipv4Addr)
	if s.Family == family.IPv6 {
		addr = ipv6Addr
	}
	b.add(unix.NFT_MSG_NEWSET, s.Family, netlink.Create,
		text(unix.NFTA_SET_TABLE, s.Table),
		text(unix.NFTA_SET_NAME, s.Name),
		num(unix.NFTA_SET_ID, 1),
		num(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL),
		num(unix.NFTA_SET_KEY_TYPE, addr<<6|inetService),
		num(unix.NFTA_SET_KEY_LEN, s.keyLen()),
		raw(unix.NFTA_SET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(s.TTL.Milliseconds()))),
		nested(unix.NFTA_SET_DESC, num(unix.NFTA_SET_DESC_SIZE, maxSetSize)))
}

// maxSetSize bounds the memory that a flood of connections takes.
const maxSetSize = 65535
