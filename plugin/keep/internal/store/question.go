// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

const (
	hashLen = 16
	maxName = 255
	minKey  = hashLen + 3 + 1
	maxKey  = hashLen + 3 + maxName
)

// A key is all that an answer depends on: the hash of the server block, the type, the flags and the name in
// lower case. EDNS alone makes no difference, since OPT records are left out of what is kept.
type key struct {
	octets [maxKey]byte
	n      int
}

// bytes returns the key; it is valid as long as k.
func (k *key) bytes() []byte { return k.octets[:k.n] }

// Bits of a key's flags.
const (
	flagRD = 1 << iota
	flagAD
	flagCD
	flagDO
)

// set makes k the key of r in the server block with the given hash. It returns false if answers to r are not
// kept, nor shared: other opcodes and classes than QUERY and IN, types that are no data, EDNS options that may
// make the answer another one, and HINFO, which the plugin loop asks to find its own question.
func (k *key) set(block *[hashLen]byte, r *dns.Msg) bool {
	if r.Response || r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 || len(r.Answer)+len(r.Ns) > 0 {
		return false
	}
	q := &r.Question[0]
	if q.Qclass != dns.ClassINET || !isData(q.Qtype) || len(q.Name) == 0 || len(q.Name) > maxName {
		return false
	}
	flags := flag(r.RecursionDesired, flagRD) | flag(r.AuthenticatedData, flagAD) | flag(r.CheckingDisabled, flagCD)
	for _, rr := range r.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok || opt.Version() != 0 || slices.ContainsFunc(opt.Option, matters) {
			return false
		}
		flags |= flag(opt.Do(), flagDO)
	}
	copy(k.octets[:], block[:])
	binary.BigEndian.PutUint16(k.octets[hashLen:], q.Qtype)
	k.octets[hashLen+2] = flags
	for i := range len(q.Name) {
		k.octets[hashLen+3+i] = lower(q.Name[i])
	}
	k.n = hashLen + 3 + len(q.Name)
	return true
}

// matters reports whether an EDNS option may change the records of the answer. Those that do not are about the
// connection, or ask for a mark beside the records: cookies, which dig sends (RFC 7873), NSID (RFC 5001),
// keepalive (RFC 7828) and padding (RFC 7830).
func matters(o dns.EDNS0) bool {
	switch o.Option() {
	case dns.EDNS0COOKIE, dns.EDNS0NSID, dns.EDNS0TCPKEEPALIVE, dns.EDNS0PADDING:
		return false
	}
	return true
}

// isData reports whether t is a type of data that is kept (RFC 6895, 3.1: from 128 to 255 are those of
// queries alone).
func isData(t uint16) bool {
	return t != 0 && t != dns.TypeOPT && t != dns.TypeHINFO && (t < 128 || t > 255)
}

func flag(on bool, f byte) byte {
	if on {
		return f
	}
	return 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
