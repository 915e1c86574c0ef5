// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"encoding/binary"
	"hash/crc32"
)

// A record is one answer in a ring, little endian, at a multiple of 8 octets:
//
//	 0  salt of the file; no answer can contain it, since nobody outside knows it
//	 8  CRC-32C of all that follows
//	12  length of the record without padding
//	16  time of storing, 24 lifetime, 32 end of use: nanoseconds of CLOCK_BOOTTIME
//	40  kind, 41 one if final, 42 length of the key, 44 zero
//	48  the key, which begins with the hash of the server block
//	    the answer, in wire format without OPT
//
// Where the rest of a ring is too short for the next record, a filler is there: four octets of zero and its
// length.
type record struct {
	stored   int64  // when the answer came, ns of CLOCK_BOOTTIME
	lifetime int64  // ns
	until    int64  // when not even a stale answer may be given any more, ns of CLOCK_BOOTTIME
	kind     kind   // positive or denial
	final    bool   // of a denial: a positive answer that came before does not count any more
	key      []byte // see question
	wire     []byte // the packed answer
}

// kind says which ring an answer belongs to.
type kind byte

const (
	positive kind = iota
	denial
	kinds
)

func (k kind) String() string { return [...]string{"positive", "denial"}[k] }

const (
	headLen   = 48
	fillerLen = 8
	// maxRecord is the longest record that a reader looks at: the longest message and the longest key.
	maxRecord = headLen + maxKey + 1<<16
	// maxAge bounds what a record may claim of its lifetime and its use beyond that.
	maxAge = int64(1<<31) * 1e9
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// aligned is n, rounded up to the next multiple of 8.
func aligned(n int) int { return (n + 7) &^ 7 }

// size is the length of r in a ring, with padding.
func (r *record) size() int { return aligned(headLen + len(r.key) + len(r.wire)) }

// encode writes r to b, which has r.size() octets.
func (r *record) encode(b []byte, salt uint64) {
	le := binary.LittleEndian
	n := headLen + len(r.key) + len(r.wire)
	le.PutUint64(b, salt)
	le.PutUint32(b[12:], uint32(n))
	le.PutUint64(b[16:], uint64(r.stored))
	le.PutUint64(b[24:], uint64(r.lifetime))
	le.PutUint64(b[32:], uint64(r.until))
	b[40], b[41] = byte(r.kind), 0
	if r.final {
		b[41] = 1
	}
	le.PutUint16(b[42:], uint16(len(r.key)))
	le.PutUint32(b[44:], 0)
	copy(b[headLen:], r.key)
	copy(b[headLen+len(r.key):], r.wire)
	le.PutUint32(b[8:], crc32.Checksum(b[12:n], castagnoli))
}

// decode reads the record at the beginning of b. The slices in it are parts of b. It returns false for what is
// no record, or a damaged one.
func decode(b []byte, salt uint64) (r record, ok bool) {
	n := recordLen(b, salt)
	le := binary.LittleEndian
	if n == 0 || crc32.Checksum(b[12:n], castagnoli) != le.Uint32(b[8:]) {
		return r, false
	}
	keyLen := int(le.Uint16(b[42:]))
	if keyLen < minKey || keyLen > maxKey || headLen+keyLen >= n || b[40] >= byte(kinds) {
		return r, false
	}
	r = record{
		stored: int64(le.Uint64(b[16:])), lifetime: int64(le.Uint64(b[24:])), until: int64(le.Uint64(b[32:])),
		kind: kind(b[40]), final: b[41] == 1, key: b[headLen : headLen+keyLen], wire: b[headLen+keyLen : n],
	}
	return r, r.stored >= 0 && r.lifetime > 0 && r.until-r.stored >= r.lifetime && r.until-r.stored <= maxAge
}

// recordLen returns the length that a record at the beginning of b claims, or 0 if none begins there.
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
