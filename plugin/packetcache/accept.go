// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// This file does what a dns.Server does with a packet between its socket and its handler (github.com/miekg/dns v1.1.73,
// server.go: serveUDP, serveDNS, response.WriteMsg), as CoreDNS configures it (v1.15.0, core/dnsserver/server.go:
// ServePacket): the default MsgAcceptFunc, and a TsigProvider without secrets.

// screen returns what becomes of a packet, by its header.
func screen(packet []byte) dns.MsgAcceptAction {
	if len(packet) < headerLen { // serveUDP: len(m) < headerSize
		return dns.MsgIgnore
	}
	word := func(at int) uint16 { return binary.BigEndian.Uint16(packet[at:]) }
	return dns.DefaultMsgAcceptFunc(dns.Header{
		Id: word(0), Bits: word(2), Qdcount: word(4), Ancount: word(6), Nscount: word(8), Arcount: word(10),
	})
}

// reject writes to out the answer to a packet that screen rejects, and returns its length (serveDNS: MsgReject,
// MsgRejectNotImplemented).
func reject(out, packet []byte, action dns.MsgAcceptAction) int {
	rcode, opcode := byte(dns.RcodeFormatError), byte(dns.OpcodeQuery)
	if action == dns.MsgRejectNotImplemented {
		rcode, opcode = dns.RcodeNotImplemented, packet[2]&opcodeMask
	}
	clear(out[:headerLen])
	copy(out, packet[:2])
	out[2] = bitQR | opcode | packet[2]&(bitTC|bitRD)
	out[3] = packet[3]&(bitRA|bitAD|bitCD) | rcode
	return headerLen
}

// malformed makes r, what could be read of a query, the answer to it (serveDNS: MsgAccept with an error of unpack).
func malformed(r *dns.Msg) *dns.Msg {
	r.SetRcodeFormatError(r)
	r.Zero = false
	r.Answer, r.Ns, r.Extra = nil, nil, nil
	return r
}

// refuse writes to out the answer SERVFAIL to a query of the usual form, and returns the length of the answer. The answer is
// the query with another header: RD and CD stay, as in SetReply of miekg/dns. An OPT record stays, too (RFC 6891, 6.1.1).
func refuse(out, query []byte) int {
	n := copy(out, query)
	out[2] = bitQR | query[2]&bitRD
	out[3] = query[3]&bitCD | dns.RcodeServerFailure
	return n
}

// noSecrets is the dns.TsigProvider of a server that has no secrets. With some, the packet cache is not used.
type noSecrets struct{}

// Generate implements dns.TsigProvider.
func (noSecrets) Generate([]byte, *dns.TSIG) ([]byte, error) { return nil, dns.ErrSecret }

// Verify implements dns.TsigProvider.
func (noSecrets) Verify([]byte, *dns.TSIG) error { return dns.ErrSecret }
