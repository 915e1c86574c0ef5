// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	// HashLen is the length of the hash of a server block, in octets.
	HashLen = 16
	maxName = 255
	minKey  = HashLen + 3 + 1
	maxKey  = HashLen + 3 + maxName
)

// A Key holds everything that an answer depends on: the hash of the server block, the type, the flags, and the name in lower
// case. A query with an OPT record and a query without one have the same Key, since records are stored without OPT.
type Key struct {
	octets [maxKey]byte
	n      int
}

// Bytes returns the octets of k. The slice is a part of k.
func (k *Key) Bytes() []byte { return k.octets[:k.n] }

// Set makes k the Key of r in the server block with the hash block. It returns false if the answers to r are neither kept nor
// shared between clients. These are answers to an opcode other than QUERY, a class other than IN, a type that is not data, an
// EDNS option that may change the answer, or the type HINFO, with which the plugin loop recognises its own question.
func (k *Key) Set(block *[HashLen]byte, r *dns.Msg) bool {
	if r.Response || r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 || len(r.Answer)+len(r.Ns) > 0 {
		return false
	}
	q := &r.Question[0]
	if q.Qclass != dns.ClassINET || !isData(q.Qtype) || len(q.Name) == 0 || len(q.Name) > maxName {
		return false
	}
	do := false
	for _, rr := range r.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok || opt.Version() != 0 || slices.ContainsFunc(opt.Option, matters) {
			return false
		}
		do = do || opt.Do()
	}
	copy(k.octets[:], block[:])
	binary.BigEndian.PutUint16(k.octets[HashLen:], q.Qtype)
	k.octets[HashLen+2] = 0
	for bit, set := range [...]bool{r.RecursionDesired, r.AuthenticatedData, r.CheckingDisabled, do} {
		if set {
			k.octets[HashLen+2] |= 1 << bit
		}
	}
	k.n = HashLen + 3 + copy(k.octets[HashLen+3:], strings.ToLower(q.Name))
	return true
}

// matters reports whether an EDNS option may change the records of the answer. Cookies, which dig sends (RFC 7873), NSID (RFC
// 5001), keepalive (RFC 7828) and padding (RFC 7830) do not.
func matters(o dns.EDNS0) bool {
	return !slices.Contains([]uint16{dns.EDNS0COOKIE, dns.EDNS0NSID, dns.EDNS0TCPKEEPALIVE, dns.EDNS0PADDING}, o.Option())
}

// isData reports whether records of type t are kept. Types from 128 to 255 exist in queries only (RFC 6895, section 3.1).
func isData(t uint16) bool {
	return t != 0 && t != dns.TypeOPT && t != dns.TypeHINFO && (t < 128 || t > 255)
}
