// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A Record is one answer in a ring, little endian, at a multiple of 8 octets:
//
//	 0  salt of the file: no answer can contain it, since only this node knows it
//	 8  CRC-32C of the octets that follow
//	12  length of the record without padding
//	16  time of storing, 24 lifetime, 32 end of use: nanoseconds of CLOCK_BOOTTIME
//	40  kind, 41 one if final, 42 length of the key, 44 zero
//	48  the key, which begins with the hash of the server block
//	    the answer, in wire format without OPT
//
// If the next record does not fit into the rest of the ring, a filler takes the rest: four octets of zero, and the length of
// the filler in four octets.
type Record struct {
	Stored   int64  // when the answer came, ns of CLOCK_BOOTTIME
	Lifetime int64  // ns
	Until    int64  // when even the stale use of the answer ends, ns of CLOCK_BOOTTIME
	Kind     Kind   // Positive or Denial
	Final    bool   // a denial that removes an older positive answer
	Key      []byte // Key.Bytes
	Wire     []byte // the packed answer
}

// A Kind of answer has a ring of its own.
type Kind byte

const (
	Positive Kind = iota
	Denial
	Kinds // the number of kinds
)

// String returns the value of the metrics' label kind.
func (k Kind) String() string { return [...]string{"positive", "denial"}[k] }

// Freshness is the life of a Record: how its answer may be used now.
type Freshness int

const (
	None   Freshness = iota // not at all
	Fresh                   // its lifetime lasts for a second or longer
	Old                     // its lifetime is over, its stale time is not
	Spared                  // Old, and the upstream failed a moment ago: it is not asked again
)

// Limits say how long the answers of a server block may be used.
type Limits struct {
	Positive, Denial time.Duration // longest lifetimes
	Stale            time.Duration // how long a positive answer may be used behind its lifetime; 0: not
	PreferPositive   bool          // a positive answer that may be used counts more than a newer denial
}

// slack is how far the clock of another goroutine or process may seem to be ahead, in nanoseconds.
const slack = int64(time.Second)

// freshness returns the life of r at the time now; the upstream is not asked again before retry. A record from the future, or with
// a lifetime beyond the limits, was stored under other limits and is not used.
func (l Limits) freshness(r *Record, now, retry int64) Freshness {
	age, most, stale := now-r.Stored, l.Denial, time.Duration(0)
	if r.Kind == Positive {
		most, stale = l.Positive, l.Stale
	}
	switch {
	case age < -slack || r.Lifetime > int64(most):
		return None
	case age <= r.Lifetime-int64(time.Second):
		return Fresh
	case stale == 0 || age >= r.Lifetime+int64(stale):
		return None
	case now < retry:
		return Spared
	}
	return Old
}

const (
	headLen   = 48
	fillerLen = 8
	// maxRecord is the length of the longest record: the longest key and the longest message.
	maxRecord = headLen + maxKey + 1<<16
	// maxAge bounds the time from storing to the end of use, in nanoseconds.
	maxAge = int64(1<<31) * 1e9
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// aligned is n, rounded up to the next multiple of 8.
func aligned(n int) int { return (n + 7) &^ 7 }

// size returns the length of r in a ring, with padding.
func (r *Record) size() int { return aligned(headLen + len(r.Key) + len(r.Wire)) }

// encode writes r to b, which has r.size() octets.
func (r *Record) encode(b []byte, salt uint64) {
	le := binary.LittleEndian
	n := headLen + len(r.Key) + len(r.Wire)
	le.PutUint64(b, salt)
	le.PutUint32(b[12:], uint32(n))
	le.PutUint64(b[16:], uint64(r.Stored))
	le.PutUint64(b[24:], uint64(r.Lifetime))
	le.PutUint64(b[32:], uint64(r.Until))
	b[40], b[41] = byte(r.Kind), 0
	if r.Final {
		b[41] = 1
	}
	le.PutUint16(b[42:], uint16(len(r.Key)))
	le.PutUint32(b[44:], 0)
	copy(b[headLen:], r.Key)
	copy(b[headLen+len(r.Key):], r.Wire)
	le.PutUint32(b[8:], crc32.Checksum(b[12:n], castagnoli))
}

// decode reads the record at the beginning of b. Key and Wire are parts of b. It returns false if there is no record, or a
// damaged one.
func decode(b []byte, salt uint64) (r Record, ok bool) {
	n := recordLen(b, salt)
	le := binary.LittleEndian
	if n == 0 || crc32.Checksum(b[12:n], castagnoli) != le.Uint32(b[8:]) {
		return r, false
	}
	keyLen := int(le.Uint16(b[42:]))
	if keyLen < minKey || keyLen > maxKey || headLen+keyLen >= n || b[40] >= byte(Kinds) {
		return r, false
	}
	r = Record{
		Stored: int64(le.Uint64(b[16:])), Lifetime: int64(le.Uint64(b[24:])), Until: int64(le.Uint64(b[32:])),
		Kind: Kind(b[40]), Final: b[41] == 1, Key: b[headLen : headLen+keyLen], Wire: b[headLen+keyLen : n],
	}
	return r, r.Stored >= 0 && r.Lifetime > 0 && r.Until-r.Stored >= r.Lifetime && r.Until-r.Stored <= maxAge
}

// recordLen returns the length field of the record at the beginning of b, or 0 if no record begins there.
func recordLen(b []byte, salt uint64) int {
	if len(b) < headLen || binary.LittleEndian.Uint64(b) != salt {
		return 0
	}
	n := int(binary.LittleEndian.Uint32(b[12:]))
	if n <= headLen || n > maxRecord || n > len(b) {
		return 0
	}
	return n
}
