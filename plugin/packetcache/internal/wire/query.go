// SPDX-License-Identifier: Apache-2.0

package packetcache

import "encoding/binary"

const (
	headerLen = 12
	// maxName is the longest name in wire format (RFC 1035, 2.3.4).
	maxName = 255
	// tailLen is what a key has behind the question: flags, EDNS flags, UDP size.
	tailLen = 4
	// maxKey is the longest key: name, type, class and tail.
	maxKey = maxName + 4 + tailLen
)

// Bits of the header's third and fourth octet (RFC 1035, 4.1.1; RFC 4035, 3.1.6).
const (
	bitQR      = 0x80 // in the third
	opcodeMask = 0x78 // in the third
	bitTC      = 0x02 // in the third
	bitRD      = 0x01 // in the third
	bitRA      = 0x80
	bitAD      = 0x20
	bitCD      = 0x10
)

// Bits of a key's EDNS flags.
const (
	hasEDNS = 0x01
	hasDO   = 0x02
)

const (
	typeOPT       = 41
	firstMetaType = 128 // of the types for queries only (RFC 6895, 3.1), to 255
	classIN       = 1
)

// parseQuery reads a query of the usual form, and appends to key[:0] all that
// an answer depends on beside the client: the question in lower case, RD, AD,
// CD, whether there is EDNS, DO and the UDP size. The array behind key must hold
// maxKey octets.
//
// It returns false for what is not usual: other than one question, another
// opcode or class, a type that is not of data, EDNS options, a version or flags
// of EDNS that are not known, octets behind the message. The plugins see these
// each time.
func parseQuery(msg, key []byte) ([]byte, bool) {
	if len(msg) < headerLen || msg[2]&^bitRD != 0 || msg[3]&^(bitAD|bitCD) != 0 {
		return nil, false
	}
	counts := binary.BigEndian.Uint64(msg[4:]) // QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT
	if counts&^1 != 1<<48 {
		return nil, false
	}
	key, ok := appendQuestion(key[:0], msg[headerLen:])
	if !ok {
		return nil, false
	}
	rest := msg[headerLen+len(key):]
	flags := msg[2] | msg[3]
	if counts&1 == 0 {
		return append(key, flags, 0, 0, 0), len(rest) == 0
	}
	edns, ok := parseOPT(rest)
	if !ok {
		return nil, false
	}
	return append(key, flags, edns, rest[3], rest[4]), true
}

// appendQuestion appends the question at the start of b with its name in lower case.
func appendQuestion(key, b []byte) ([]byte, bool) {
	off := 0
	for {
		if off >= len(b) {
			return nil, false
		}
		n := int(b[off])
		if n > 63 || off+1+n > maxName || off+1+n > len(b) {
			return nil, false
		}
		key = append(key, b[off])
		off++
		if n == 0 {
			break
		}
		for _, c := range b[off : off+n] {
			key = append(key, lower(c))
		}
		off += n
	}
	if len(b) < off+4 {
		return nil, false
	}
	qtype, class := binary.BigEndian.Uint16(b[off:]), binary.BigEndian.Uint16(b[off+2:])
	if class != classIN || qtype == 0 || qtype == typeOPT || qtype >= firstMetaType && qtype <= 255 {
		return nil, false
	}
	return append(key, b[off:off+4]...), true
}

// parseOPT reads an OPT record of version 0 without options that is all of b,
// and returns the key's EDNS flags (RFC 6891, 6.1).
func parseOPT(b []byte) (flags byte, ok bool) {
	if len(b) != 11 || b[0] != 0 || b[1] != 0 || b[2] != typeOPT {
		return 0, false
	}
	if b[5] != 0 || b[6] != 0 || b[7]&^0x80 != 0 || b[8] != 0 || b[9] != 0 || b[10] != 0 {
		return 0, false
	}
	return hasEDNS | b[7]>>6, true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// questionLen returns the length of the question that key begins with.
func questionLen(key []byte) int { return len(key) - tailLen }
