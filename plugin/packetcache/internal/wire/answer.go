// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer is the longest answer that is kept.
	maxAnswer = 4096
	// maxRecords is the most records that a kept answer has.
	maxRecords = 64

	rcodeMask     = 0x0f
	rcodeNXDOMAIN = 3
	typeA         = 1
	typeMX        = 15
	typeAAAA      = 28
)

// An entry is one answer as it went to a client. It does not change, but for
// what belongs to its shard.
type entry struct {
	key     []byte
	wire    []byte
	ttls    []uint16 // offsets of the records' TTLs
	stored  time.Duration
	expires time.Duration
	ends    time.Duration // when the first of the TTLs is over
	query   int           // length of the query that it answered
	size    int           // of the answer, as the prometheus plugin counts it
	block   *block
	count   atomic.Pointer[counters] // made for the first hit; nil: not yet

	visited    atomic.Bool
	prev, next *entry // towards the older, towards the younger
	hash       uint64
}

// fresh reports whether e may be given as an answer.
func (e *entry) fresh(now time.Duration) bool { return now < e.expires }

// An answer is what readAnswer found out.
type answer struct {
	ttls     []uint16
	ttl      time.Duration // the smallest
	shuffled bool          // has what loadbalance puts into another order each time
}

// readAnswer reads an answer to the question of key. It returns false for one
// that must not be kept: truncated, another rcode than NOERROR and NXDOMAIN, no
// record with a TTL or one of 0, longer than maxAnswer, or not well-formed.
func readAnswer(wire, key []byte) (a answer, ok bool) {
	qlen := questionLen(key)
	if len(wire) < headerLen+qlen || len(wire) > maxAnswer || wire[2]&bitQR == 0 || wire[2]&bitTC != 0 {
		return a, false
	}
	if rcode := wire[3] & rcodeMask; rcode != 0 && rcode != rcodeNXDOMAIN || binary.BigEndian.Uint16(wire[4:]) != 1 {
		return a, false
	}
	var buf [maxKey]byte
	question, ok := appendQuestion(buf[:0], wire[headerLen:])
	if !ok || !bytes.Equal(question, key[:qlen]) {
		return a, false
	}
	records := int(binary.BigEndian.Uint16(wire[6:])) + int(binary.BigEndian.Uint16(wire[8:])) + int(binary.BigEndian.Uint16(wire[10:]))
	if records > maxRecords {
		return a, false
	}
	return a, a.records(wire, headerLen+qlen, records) && a.ttl > 0
}

// records reads n records that begin at off and end with wire.
func (a *answer) records(wire []byte, off, n int) bool {
	a.ttls = make([]uint16, 0, n)
	lowest, rotating := uint32(1<<31-1), 0
	for range n {
		off = skipName(wire, off)
		if off < 0 || off+10 > len(wire) {
			return false
		}
		rrtype := binary.BigEndian.Uint16(wire[off:])
		if rrtype != typeOPT {
			a.ttls = append(a.ttls, uint16(off+4))
			lowest = min(lowest, binary.BigEndian.Uint32(wire[off+4:]))
		}
		if rrtype == typeA || rrtype == typeAAAA || rrtype == typeMX {
			rotating++
		}
		off += 10 + int(binary.BigEndian.Uint16(wire[off+8:]))
	}
	if len(a.ttls) > 0 {
		a.ttl = time.Duration(lowest) * time.Second
	}
	a.shuffled = rotating > 1
	return off == len(wire)
}

// skipName returns the offset behind the name at off, -1 if it is cut off.
func skipName(wire []byte, off int) int {
	for off < len(wire) {
		switch n := int(wire[off]); {
		case n == 0:
			return off + 1
		case n >= 0xc0:
			return off + 2
		case n > 63:
			return -1
		default:
			off += 1 + n
		}
	}
	return -1
}

// replay writes e as the answer to query into out, which must hold maxAnswer
// octets, and returns its length: with the ID and the spelling of query, and
// TTLs that the time since has been taken from.
func (e *entry) replay(out, query []byte, now time.Duration) int {
	n := copy(out, e.wire)
	out[0], out[1] = query[0], query[1]
	copy(out[headerLen:], query[headerLen:headerLen+questionLen(e.key)])
	if age := uint32((now - e.stored) / time.Second); age > 0 {
		for _, off := range e.ttls {
			ttl := out[off : off+4]
			binary.BigEndian.PutUint32(ttl, binary.BigEndian.Uint32(ttl)-age)
		}
	}
	return n
}
