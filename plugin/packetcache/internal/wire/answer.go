// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

const (
	// MaxAnswer is the length of the longest answer that is kept, in octets.
	MaxAnswer = 4096
	// maxRecords is the largest number of records in an answer that is kept.
	maxRecords = 64
	rcodeMask  = 0x0f
)

// An Answer describes an answer that may be kept.
type Answer struct {
	TTLs     []uint16      // the offset of each record's TTL
	TTL      time.Duration // the smallest TTL
	Shuffled bool          // several records of a type that the plugin loadbalance orders anew each time: A, AAAA, MX
}

// ReadAnswer reads an answer to the question of key. It returns false for an answer that must not be kept: truncated, another
// rcode than NOERROR and NXDOMAIN, no record with a TTL, a TTL of 0, an EDNS option, longer than MaxAnswer, or not well-formed. An
// option, such as a cookie, may be for one client alone. The upstream's options come so far in a server block without the plugin
// cache.
func ReadAnswer(wire, key []byte) (a Answer, ok bool) {
	qlen := questionLen(key)
	if len(wire) < HeaderLen+qlen || len(wire) > MaxAnswer || wire[2]&bitQR == 0 || wire[2]&bitTC != 0 {
		return a, false
	}
	if rcode := wire[3] & rcodeMask; rcode != 0 && rcode != dns.RcodeNameError || binary.BigEndian.Uint16(wire[4:]) != 1 {
		return a, false
	}
	var buf [MaxKey]byte
	question, ok := appendQuestion(buf[:0], wire[HeaderLen:])
	if !ok || !bytes.Equal(question, key[:qlen]) {
		return a, false
	}
	records := int(binary.BigEndian.Uint16(wire[6:])) + int(binary.BigEndian.Uint16(wire[8:])) + int(binary.BigEndian.Uint16(wire[10:]))
	if records > maxRecords {
		return a, false
	}
	off := HeaderLen + qlen
	a.TTLs = make([]uint16, 0, records)
	lowest, rotating := uint32(1<<31-1), 0
	for range records {
		var err error
		if _, off, err = dns.UnpackDomainName(wire, off); err != nil || off+10 > len(wire) {
			return a, false
		}
		rrtype, length := binary.BigEndian.Uint16(wire[off:]), int(binary.BigEndian.Uint16(wire[off+8:]))
		if rrtype == dns.TypeOPT && length > 0 {
			return a, false
		}
		if rrtype != dns.TypeOPT {
			a.TTLs = append(a.TTLs, uint16(off+4))
			lowest = min(lowest, binary.BigEndian.Uint32(wire[off+4:]))
		}
		if rrtype == dns.TypeA || rrtype == dns.TypeAAAA || rrtype == dns.TypeMX {
			rotating++
		}
		off += 10 + length
	}
	if len(a.TTLs) > 0 {
		a.TTL = time.Duration(lowest) * time.Second
	}
	a.Shuffled = rotating > 1
	return a, off == len(wire) && a.TTL > 0
}

// Rcode returns the rcode of answer, without the part that an OPT record has.
func Rcode(answer []byte) int { return int(answer[3] & rcodeMask) }

// Replay writes to out the answer to query from an earlier answer to the same question, and returns its length: with the ID
// and the spelling of query, and TTLs that are smaller by age, in seconds. out must hold MaxAnswer octets. ttls is Answer.TTLs.
func Replay(out, query, answer, key []byte, ttls []uint16, age uint32) int {
	n := copy(out, answer)
	out[0], out[1] = query[0], query[1]
	copy(out[HeaderLen:], query[HeaderLen:HeaderLen+questionLen(key)])
	if age > 0 {
		for _, off := range ttls {
			ttl := out[off : off+4]
			binary.BigEndian.PutUint32(ttl, binary.BigEndian.Uint32(ttl)-age)
		}
	}
	return n
}

// Reject writes to out the answer to packet that is a header alone, with the given rcode, and returns its length. The opcode of
// packet stays only for NOTIMP, as in serveDNS of miekg/dns.
func Reject(out, packet []byte, rcode byte) int {
	clear(out[:HeaderLen])
	copy(out, packet[:2])
	out[2] = bitQR | packet[2]&(bitTC|bitRD)
	if rcode == dns.RcodeNotImplemented {
		out[2] |= packet[2] & opcodeMask
	}
	out[3] = packet[3]&(bitRA|bitAD|bitCD) | rcode
	return HeaderLen
}

// Refuse writes to out the answer SERVFAIL to a query of the usual form, and returns the length of the answer. The answer is
// the query with another header: RD and CD stay, as in SetReply of miekg/dns. An OPT record stays, too (RFC 6891, 6.1.1), without
// its options: they are a client's.
func Refuse(out, query, key []byte) int {
	n := copy(out, query[:HeaderLen+questionLen(key)])
	out[2] = bitQR | query[2]&bitRD
	out[3] = query[3]&bitCD | dns.RcodeServerFailure
	if ednsFlags(key)&hasEDNS != 0 {
		copy(out[n:], query[n:n+optLen])
		out[n+optLen-1] = 0
		n += optLen
	}
	return n
}
