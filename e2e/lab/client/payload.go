// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/miekg/dns"
)

// Payload appends the i-th message of a flood.
type Payload func(b []byte, i int) []byte

// packed is a query in wire format with the ID 0.
func packed(name string, qtype uint16, change ...func(*dns.Msg)) []byte {
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 0
	for _, f := range change {
		f(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(fmt.Sprintf("packing %s: %v", name, err)) // a name written in a test
	}
	return b
}

// repeated is one message for all packets. Its ID is the number of the packet.
func repeated(message []byte) Payload {
	return func(b []byte, i int) []byte {
		at := len(b)
		b = append(b, message...)
		binary.BigEndian.PutUint16(b[at:], uint16(i))
		return b
	}
}

// One asks for one name and type.
func One(name string, qtype uint16) Payload { return repeated(packed(name, qtype)) }

// Names asks for the name that the function returns for the number of the message.
func Names(name func(i int) string) Payload {
	return func(b []byte, i int) []byte { return repeated(packed(name(i), dns.TypeA))(b, i) }
}

// Malformed asks for one name with a cookie of 9 octets, which is no valid length (RFC 7873): the plugins see each message.
func Malformed(name string) Payload {
	return repeated(packed(name, dns.TypeA, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef01"}}
	}))
}

// TwoQuestions has a second question in each message.
func TwoQuestions(name string) Payload {
	return repeated(packed(name, dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }))
}

// Cut has messages that end within their question.
func Cut(name string) Payload {
	whole := packed(name, dns.TypeA)
	return repeated(whole[:len(whole)-5])
}

// Huge is a question with padding (RFC 7830) up to 1,400 octets.
func Huge(name string) Payload {
	return repeated(packed(name, dns.TypeA, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 1400-m.Len()-4)}}
	}))
}

// Noise is 12 to 75 random octets, except that the bit QR is 0, as in a query.
func Noise(seed uint64) Payload {
	random := rand.New(rand.NewPCG(seed, 0))
	return func(b []byte, _ int) []byte {
		at := len(b)
		for range 12 + random.IntN(64) {
			b = append(b, byte(random.Uint32()))
		}
		b[at+2] &^= 0x80
		return b
	}
}

// NewNames asks for another name in each message: eight random hexadecimal digits below the zone. edit can change the rest of
// the message.
func NewNames(seed uint64, zone string, edit ...func(*dns.Msg)) Payload {
	const digits, label = "0123456789abcdef", 13 // the header and the label's length come before it
	random := rand.New(rand.NewPCG(seed, 1))
	message := repeated(packed("00000000."+zone, dns.TypeA, edit...))
	return func(b []byte, i int) []byte {
		at := len(b)
		b = message(b, i)
		for bits, k := random.Uint32(), 0; k < 8; bits, k = bits>>4, k+1 {
			b[at+label+k] = digits[bits&15]
		}
		return b
	}
}
