// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// pack returns the wire format of a query that change may alter first.
func pack(t testing.TB, name string, qtype uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	if change != nil {
		change(m)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func edns(size uint16, do bool) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, do) } }

func option(o dns.EDNS0) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, o)
	}
}

func key(msg []byte) ([]byte, bool) { return parseQuery(msg, make([]byte, 0, maxKey)) }

func TestKeyDependsOnWhatAnAnswerDependsOn(t *testing.T) {
	base := pack(t, "www.example.org.", dns.TypeA, nil)
	want, ok := key(base)
	if !ok {
		t.Fatal("not usual")
	}
	same := map[string][]byte{
		"another ID":       append([]byte{1, 2}, base[2:]...),
		"another spelling": pack(t, "wWw.EXAMPLE.org.", dns.TypeA, nil),
	}
	for name, msg := range same {
		if k, ok := key(msg); !ok || !bytes.Equal(k, want) {
			t.Errorf("%s: %x, %t", name, k, ok)
		}
	}
	seen := map[string]string{string(want): "itself"}
	for name, msg := range map[string][]byte{
		"another name":   pack(t, "ww.example.org.", dns.TypeA, nil),
		"another type":   pack(t, "www.example.org.", dns.TypeAAAA, nil),
		"no RD":          pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.RecursionDesired = false }),
		"AD":             pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData = true }),
		"CD":             pack(t, "www.example.org.", dns.TypeA, func(m *dns.Msg) { m.CheckingDisabled = true }),
		"EDNS":           pack(t, "www.example.org.", dns.TypeA, edns(512, false)),
		"EDNS of 1232":   pack(t, "www.example.org.", dns.TypeA, edns(1232, false)),
		"DO":             pack(t, "www.example.org.", dns.TypeA, edns(1232, true)),
		"the root":       pack(t, ".", dns.TypeA, nil),
		"labels as dots": pack(t, `www\.example.org.`, dns.TypeA, nil),
		"longest":        pack(t, strings.Repeat(strings.Repeat("a", 62)+".", 4)+"b.", dns.TypeA, nil),
	} {
		k, ok := key(msg)
		if other := seen[string(k)]; !ok || other != "" {
			t.Errorf("%s: usual %t, the same key as %s", name, ok, other)
		}
		seen[string(k)] = name
	}
}

func TestUnusualQueries(t *testing.T) {
	base := pack(t, "www.example.org.", dns.TypeA, nil)
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
		"chaos":            pack(t, "version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"ANY":              pack(t, "example.org.", dns.TypeANY, nil),
		"AXFR":             pack(t, "example.org.", dns.TypeAXFR, nil),
		"a cookie":         pack(t, "example.org.", dns.TypeA, option(&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})),
		"NSID":             pack(t, "example.org.", dns.TypeA, option(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})),
		"EDNS version 1": pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().SetVersion(1)
		}),
		"EDNS flags": pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().SetZ(1)
		}),
		"TSIG": pack(t, "example.org.", dns.TypeA, func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) }),
	} {
		if _, ok := key(msg); ok {
			t.Errorf("%s counts as usual", name)
		}
	}
}

// FuzzParseQuery compares with miekg/dns: what counts as usual has to be a message there too, that says the same.
func FuzzParseQuery(f *testing.F) {
	f.Add(pack(f, "www.example.org.", dns.TypeA, nil))
	f.Add(pack(f, "wWw.example.org.", dns.TypeAAAA, edns(1232, true)))
	f.Add(pack(f, "example.org.", dns.TypeA, option(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})))
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
		}
		wire, err := again.Pack()
		if err != nil {
			t.Fatalf("%v of %v", err, again)
		}
		if k2, ok := key(wire); !ok || !bytes.Equal(k, k2) {
			t.Errorf("%x became %x (%t) by way of %v", k, k2, ok, again)
		}
		if n := len(k); n > maxKey {
			t.Errorf("key of %d octets", n)
		}
	})
}

// FuzzReadAnswer compares with miekg/dns, too: what is kept has the TTLs that are found there.
func FuzzReadAnswer(f *testing.F) {
	q := pack(f, "www.example.org.", dns.TypeA, nil)
	for _, text := range []string{"www.example.org. 30 IN A 192.0.2.1", "www.example.org. 0 IN CNAME a.example.org."} {
		f.Add(answerTo(f, q, text))
	}
	k, _ := key(q)
	f.Fuzz(func(t *testing.T, wire []byte) {
		a, ok := readAnswer(wire, k)
		if !ok {
			return
		}
		out := make([]byte, maxAnswer)
		e := &entry{key: k, wire: wire, ttls: a.ttls}
		out = out[:e.replay(out, q, 0)]
		var m dns.Msg
		if m.Unpack(wire) != nil {
			return // broken data of a record goes to the client as it came
		}
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		for _, rr := range append(append(m.Answer, m.Ns...), m.Extra...) {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT && float64(h.Ttl) < a.ttl.Seconds() {
				t.Errorf("%s is below %s", rr, a.ttl)
			}
		}
	})
}
