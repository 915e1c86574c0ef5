// SPDX-License-Identifier: Apache-2.0

// Package wiretest makes the queries and answers of the packet cache's tests.
package wiretest

import (
	"encoding/hex"
	"net"
	"testing"

	"github.com/miekg/dns"
)

// Pack returns the wire format of a query that change may alter first.
func Pack(t testing.TB, name string, qtype uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	return pack(t, new(dns.Msg).SetQuestion(name, qtype), change)
}

func pack(t testing.TB, m *dns.Msg, change func(*dns.Msg)) []byte {
	t.Helper()
	if change != nil {
		change(m)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// EDNS adds an OPT record.
func EDNS(size uint16, do bool) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, do) } }

// Option adds an OPT record with options.
func Option(options ...dns.EDNS0) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, options...)
	}
}

// Cookie returns the option COOKIE (RFC 7873) with the octets of value.
func Cookie(value string) *dns.EDNS0_COOKIE {
	return &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString([]byte(value))}
}

// AnswerTo returns an answer with records in presentation format.
func AnswerTo(t testing.TB, query []byte, records ...string) []byte {
	t.Helper()
	return ChangedAnswer(t, query, nil, records...)
}

// ChangedAnswer returns an answer with records in presentation format, after change.
func ChangedAnswer(t testing.TB, query []byte, change func(*dns.Msg), records ...string) []byte {
	t.Helper()
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetReply(q)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return pack(t, m, change)
}

// A30 is a record that fits a query for www.example.org.
const A30 = "www.example.org. 30 IN A 192.0.2.1"

// FreePort returns an address where nobody listens, neither over UDP nor over TCP.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no port is free for both")
	return ""
}
