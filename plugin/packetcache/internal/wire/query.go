// SPDX-License-Identifier: Apache-2.0

// Package wire reads DNS queries and answers in place, and writes answers, without a copy and without a parser's objects.
package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	// HeaderLen is the length of a message's header in octets (RFC 1035, 4.1.1).
	HeaderLen = 12
	// maxName is the longest name in wire format (RFC 1035, 2.3.4).
	maxName = 255
	// tailLen is the length of a key's end: one octet of flags, one of EDNS flags, two of the UDP size, one of the length of the
	// EDNS options.
	tailLen = 5
	// MaxKey is the length of the longest key in octets: name, type, class and tail.
	MaxKey = maxName + 4 + tailLen
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
	hasEDNS      = 0x01
	hasDO        = 0x02
	hasCookie    = 0x04 // RFC 7873
	hasPadding   = 0x08 // RFC 7830
	hasKeepalive = 0x10 // RFC 7828
)

const (
	// optLen is the length of an OPT record without options in octets (RFC 6891, 6.1.2).
	optLen = 11
	// maxOptions is the largest length of the options of a query of the usual form, in octets: a key has one octet for it.
	maxOptions = 255
)

// firstMetaType is the first type for queries only (RFC 6895, 3.1). The last is 255.
const firstMetaType = 128

// ParseQuery reads a query of the usual form and returns its key, written to key[:0]. A key holds everything that an answer
// depends on beside the client: the question in lower case, RD, AD, CD, the presence of EDNS, DO, the UDP size, and which EDNS
// options there are. What the options say is no part of the key, since no answer with options is kept. Their length is a part,
// since the metrics have the size of each query. The array behind key must hold MaxKey octets.
//
// ParseQuery returns false for a query of an unusual form: not exactly one question, another opcode than QUERY, another class
// than IN, a type that is not of data, EDNS options that parseOptions does not know, an unknown version or flag of EDNS, octets
// behind the message.
func ParseQuery(msg, key []byte) ([]byte, bool) {
	if len(msg) < HeaderLen || msg[2]&^bitRD != 0 || msg[3]&^(bitAD|bitCD) != 0 {
		return nil, false
	}
	counts := binary.BigEndian.Uint64(msg[4:]) // QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT
	if counts&^1 != 1<<48 {
		return nil, false
	}
	key, ok := appendQuestion(key[:0], msg[HeaderLen:])
	if !ok {
		return nil, false
	}
	rest := msg[HeaderLen+len(key):]
	flags := msg[2] | msg[3]
	if counts&1 == 0 {
		if len(rest) > 0 {
			return nil, false
		}
		return append(key, flags, 0, 0, 0, 0), true
	}
	edns, ok := parseOPT(rest)
	if !ok {
		return nil, false
	}
	return append(key, flags, edns, rest[3], rest[4], rest[10]), true
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
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			key = append(key, c)
		}
		off += n
	}
	if len(b) < off+4 {
		return nil, false
	}
	qtype, class := binary.BigEndian.Uint16(b[off:]), binary.BigEndian.Uint16(b[off+2:])
	if class != dns.ClassINET || qtype == 0 || qtype == dns.TypeOPT || qtype >= firstMetaType && qtype <= 255 {
		return nil, false
	}
	return append(key, b[off:off+4]...), true
}

// parseOPT returns the key's EDNS flags if b is one OPT record of version 0 (RFC 6891, 6.1) with options of the usual form.
func parseOPT(b []byte) (flags byte, ok bool) {
	if len(b) < optLen || len(b) > optLen+maxOptions || b[0] != 0 || b[1] != 0 || uint16(b[2]) != dns.TypeOPT {
		return 0, false
	}
	if b[5] != 0 || b[6] != 0 || b[7]&^0x80 != 0 || b[8] != 0 || b[9] != 0 || int(b[10]) != len(b)-optLen {
		return 0, false
	}
	flags = hasEDNS | b[7]>>6
	if len(b) == optLen {
		return flags, true
	}
	options, ok := parseOptions(b[optLen:])
	return flags | options, ok
}

// parseOptions returns the key's EDNS flags for options that no plugin of a safe block reads: a cookie of a valid length, padding,
// and keepalive as a client sends it. It returns false if there is another option, or one of them twice.
func parseOptions(b []byte) (flags byte, ok bool) {
	for len(b) > 0 {
		if len(b) < 4 {
			return 0, false
		}
		code, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		flag := byte(0)
		switch {
		case code == dns.EDNS0COOKIE && (n == 8 || n >= 16 && n <= 40): // RFC 7873, 5.2.2
			flag = hasCookie
		case code == dns.EDNS0PADDING:
			flag = hasPadding
		case code == dns.EDNS0TCPKEEPALIVE && n == 0: // RFC 7828, 3.2.1
			flag = hasKeepalive
		}
		if flag == 0 || flags&flag != 0 || n > len(b)-4 {
			return 0, false
		}
		flags |= flag
		b = b[4+n:]
	}
	return flags, true
}

// questionLen returns the length of the question at the start of key.
func questionLen(key []byte) int { return len(key) - tailLen }

// ednsFlags returns the EDNS flags of key.
func ednsFlags(key []byte) byte { return key[len(key)-tailLen+1] }

// DO reports whether the query with this key has EDNS's DO bit (RFC 3225).
func DO(key []byte) bool { return ednsFlags(key)&hasDO != 0 }

// Parts returns the question of a key, and what an answer depends on beside the question.
func Parts(key []byte) (question, tail []byte) { return key[:questionLen(key)], key[questionLen(key):] }

// Name returns the name at the start of key, in wire format and lower case.
func Name(key []byte) []byte { return key[:len(key)-tailLen-4] }
