// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

func key(msg []byte) ([]byte, bool) { return ParseQuery(msg, make([]byte, 0, MaxKey)) }

func TestKeyDependsOnWhatAnAnswerDependsOn(t *testing.T) {
	base := wiretest.Pack(t, "www.example.org.", dns.TypeA, nil)
	want, ok := key(base)
	if !ok {
		t.Fatal("not usual")
	}
	same := map[string][]byte{
		"another ID":       append([]byte{1, 2}, base[2:]...),
		"another spelling": wiretest.Pack(t, "wWw.EXAMPLE.org.", dns.TypeA, nil),
	}
	for name, msg := range same {
		if k, ok := key(msg); !ok || !bytes.Equal(k, want) {
			t.Errorf("%s: %x, %t", name, k, ok)
		}
	}
	seen := map[string]string{string(want): "itself"}
	for name, msg := range map[string][]byte{
		"another name":   wiretest.Pack(t, "ww.example.org.", dns.TypeA, nil),
		"another type":   wiretest.Pack(t, "www.example.org.", dns.TypeAAAA, nil),
		"no RD":          wiretest.Pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.RecursionDesired = false }),
		"AD":             wiretest.Pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData = true }),
		"CD":             wiretest.Pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.CheckingDisabled = true }),
		"EDNS":           wiretest.Pack(t, "www.example.org.", dns.TypeA, wiretest.EDNS(512, false)),
		"EDNS of 1232":   wiretest.Pack(t, "www.example.org.", dns.TypeA, wiretest.EDNS(1232, false)),
		"DO":             wiretest.Pack(t, "www.example.org.", dns.TypeA, wiretest.EDNS(1232, true)),
		"the root":       wiretest.Pack(t, ".", dns.TypeA, nil),
		"labels as dots": wiretest.Pack(t, `www\.example.org.`, dns.TypeA, nil),
		"longest":        wiretest.Pack(t, strings.Repeat(strings.Repeat("a", 62)+".", 4)+"b.", dns.TypeA, nil),
	} {
		k, ok := key(msg)
		if other := seen[string(k)]; !ok || other != "" {
			t.Errorf("%s: usual %t, the same key as %s", name, ok, other)
		}
		seen[string(k)] = name
	}
}

// patched returns a query with a cookie of 16 octets. The octet at place at of the option has another value.
func patched(t *testing.T, at int, value byte) []byte {
	msg := wiretest.Pack(t, "example.org.", dns.TypeA, wiretest.Option(wiretest.Cookie("0123456789abcdef")))
	msg[len(msg)-20+at] = value
	return msg
}

func TestUnusualQueries(t *testing.T) {
	base := wiretest.Pack(t, "www.example.org.", dns.TypeA, nil)
	patch := func(at int, value byte) []byte {
		msg := bytes.Clone(base)
		msg[at] = value
		return msg
	}
	for name, msg := range map[string][]byte{
		"nothing":          nil,
		"a header":         base[:12],
		"cut in the name":  base[:20],
		"cut in the class": base[:len(base)-1],
		"one octet more":   append(bytes.Clone(base), 0),
		"an answer":        patch(2, 0x81),
		"AA":               patch(2, 0x05),
		"TC":               patch(2, 0x03),
		"RA":               patch(3, 0x80),
		"Z":                patch(3, 0x40),
		"an rcode":         patch(3, 1),
		"NOTIFY":           patch(2, 0x20),
		"no question":      patch(5, 0),
		"two questions":    patch(5, 2),
		"an answer record": patch(7, 1),
		"a pointer":        patch(12, 0xc0),
		"chaos":            wiretest.Pack(t, "version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"ANY":              wiretest.Pack(t, "example.org.", dns.TypeANY, nil),
		"AXFR":             wiretest.Pack(t, "example.org.", dns.TypeAXFR, nil),
		"EDNS version 1": wiretest.Pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().SetVersion(1)
		}),
		"EDNS flags": wiretest.Pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().SetZ(1)
		}),
		"an option longer than the record": patched(t, 3, 17),
		"an option shorter":                patched(t, 3, 8),
		"TSIG":                             wiretest.Pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) }),
	} {
		if k, ok := key(msg); ok || k != nil {
			t.Errorf("%s counts as usual, or has a key: %x", name, k)
		}
	}
}

// TestOptions reads EDNS options of each kind. Queries have the same key if they have the same options, in length and kind.
func TestOptions(t *testing.T) {
	cookie := func(n int) dns.EDNS0 { return wiretest.Cookie(strings.Repeat("7", n)) }
	padding := func(n int) dns.EDNS0 { return &dns.EDNS0_PADDING{Padding: make([]byte, n)} }
	keepalive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	seen := map[string]string{}
	for _, c := range []struct {
		key     string // "": of an unusual form
		options []dns.EDNS0
	}{
		{"none", nil},
		{"cookie", []dns.EDNS0{cookie(8)}},
		{"cookie", []dns.EDNS0{wiretest.Cookie("another.")}},
		{"cookie of 16", []dns.EDNS0{cookie(16)}},
		{"cookie of 40", []dns.EDNS0{cookie(40)}},
		{"empty padding", []dns.EDNS0{padding(0)}},
		{"padding of 8", []dns.EDNS0{padding(8)}},
		{"longest padding", []dns.EDNS0{padding(251)}},
		{"keepalive", []dns.EDNS0{keepalive}},
		{"cookie, keepalive", []dns.EDNS0{cookie(8), keepalive}},
		{"all", []dns.EDNS0{cookie(8), keepalive, padding(100)}},
		{"all", []dns.EDNS0{padding(100), cookie(8), keepalive}},
		{"", []dns.EDNS0{cookie(0)}},
		{"", []dns.EDNS0{cookie(7)}},
		{"", []dns.EDNS0{cookie(9)}},
		{"", []dns.EDNS0{cookie(15)}},
		{"", []dns.EDNS0{cookie(41)}},
		{"", []dns.EDNS0{cookie(8), cookie(8)}},
		{"", []dns.EDNS0{padding(0), padding(0)}},
		{"", []dns.EDNS0{padding(252)}},
		{"", []dns.EDNS0{padding(300)}},
		{"", []dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE, Timeout: 7}}},
		{"", []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}},
		{"", []dns.EDNS0{cookie(8), &dns.EDNS0_NSID{Code: dns.EDNS0NSID}}},
		{"", []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("12345678")}}},
	} {
		msg := wiretest.Pack(t, "example.org.", dns.TypeA, wiretest.Option(c.options...))
		k, ok := key(msg)
		if ok != (c.key != "") {
			t.Errorf("%v: usual %t", c.options, ok)
		}
		if !ok {
			continue
		}
		if other := seen[string(k)]; other != "" && other != c.key || other == "" && slices.Contains(slices.Collect(maps.Values(seen)), c.key) {
			t.Errorf("%v: the key of %q, want that of %q", c.options, other, c.key)
		}
		seen[string(k)] = c.key
		for n := range len(msg) {
			if _, ok := key(msg[:n]); ok {
				t.Errorf("%v: usual when cut at %d", c.options, n)
			}
		}
	}
}

// FuzzParseQuery compares with miekg/dns: what counts as usual has to be a message there too, that says the same.
func FuzzParseQuery(f *testing.F) {
	f.Add(wiretest.Pack(f, "www.example.org.", dns.TypeA, nil))
	f.Add(wiretest.Pack(f, "wWw.example.org.", dns.TypeAAAA, wiretest.EDNS(1232, true)))
	f.Add(wiretest.Pack(f, "example.org.", dns.TypeA, wiretest.Option(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})))
	f.Add(wiretest.Pack(f, "example.org.", dns.TypeA, wiretest.Option(wiretest.Cookie("01234567"), &dns.EDNS0_PADDING{Padding: make([]byte, 9)})))
	f.Add(wiretest.Pack(f, "example.org.", dns.TypeA, wiretest.Option(&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}, wiretest.Cookie("0123456789abcdef"))))
	f.Fuzz(func(t *testing.T, msg []byte) {
		k, ok := key(msg)
		if !ok {
			return
		}
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			t.Fatalf("dns: %v", err)
		}
		again := new(dns.Msg)
		again.Question = []dns.Question{{Name: m.Question[0].Name, Qtype: m.Question[0].Qtype, Qclass: dns.ClassINET}}
		again.RecursionDesired, again.AuthenticatedData, again.CheckingDisabled = m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled
		if o := m.IsEdns0(); o != nil {
			again.SetEdns0(o.UDPSize(), o.Do())
			again.IsEdns0().Option = o.Option
		}
		wire, err := again.Pack()
		if err != nil {
			t.Fatalf("%v of %v", err, again)
		}
		if k2, ok := key(wire); !ok || !bytes.Equal(k, k2) {
			t.Errorf("%x became %x (%t) by way of %v", k, k2, ok, again)
		}
		if n := len(k); n > MaxKey {
			t.Errorf("key of %d octets", n)
		}
		out := make([]byte, MaxAnswer)
		var refused dns.Msg
		if err := refused.Unpack(out[:Refuse(out, msg, k)]); err != nil {
			t.Fatalf("refused: %v", err)
		}
		if o := refused.IsEdns0(); (o != nil) != (m.IsEdns0() != nil) || o != nil && len(o.Option) > 0 {
			t.Errorf("refused with %v", o)
		}
	})
}

// FuzzReadAnswer compares with miekg/dns, too: what is kept has the TTLs that are found there.
func FuzzReadAnswer(f *testing.F) {
	q := wiretest.Pack(f, "www.example.org.", dns.TypeA, nil)
	for _, text := range []string{"www.example.org. 30 IN A 192.0.2.1", "www.example.org. 0 IN CNAME a.example.org."} {
		f.Add(wiretest.AnswerTo(f, q, text))
	}
	k, _ := key(q)
	f.Fuzz(func(t *testing.T, wire []byte) {
		a, ok := ReadAnswer(wire, k)
		if !ok {
			return
		}
		out := make([]byte, MaxAnswer)
		out = out[:Replay(out, q, wire, k, a.TTLs, 0)]
		var m dns.Msg
		if m.Unpack(wire) != nil {
			return // broken data of a record goes to the client as it came
		}
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		for _, rr := range append(append(m.Answer, m.Ns...), m.Extra...) {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT && float64(h.Ttl) < a.TTL.Seconds() {
				t.Errorf("%s is below %s", rr, a.TTL)
			}
		}
	})
}
