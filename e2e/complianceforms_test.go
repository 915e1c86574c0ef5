// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A form is a question of an unusual form.
type form struct {
	name   string
	tcp    bool
	change func(m *dns.Msg)
}

// packet returns the question. Each form asks for a name of its own.
func (f form) packet(t *testing.T, number int) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(fmt.Sprintf("form%d.small.example.org.", number), dns.TypeA)
	if f.change != nil {
		f.change(m)
	}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

// edns adds an OPT record of this version, with these options.
func edns(version uint8, options ...dns.EDNS0) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(4096, false)
		m.IsEdns0().SetVersion(version)
		m.IsEdns0().Option = options
	}
}

// ednsSize adds an OPT record of version 0 with this size.
func ednsSize(size uint16, do bool) func(m *dns.Msg) {
	return func(m *dns.Msg) { m.SetEdns0(size, do) }
}

// large asks for an answer that does not fit into 512 octets.
func large(then ...func(m *dns.Msg)) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		m.Question[0].Name, m.Question[0].Qtype = strings.Replace(m.Question[0].Name, "small", "large", 1), dns.TypeTXT
		for _, f := range then {
			f(m)
		}
	}
}

func unknownFlag(m *dns.Msg) { m.IsEdns0().Hdr.Ttl |= 0x0080 }

func qtype(t uint16) func(m *dns.Msg) { return func(m *dns.Msg) { m.Question[0].Qtype = t } }

func opcode(code int) func(m *dns.Msg) { return func(m *dns.Msg) { m.Opcode = code } }

// all does one change after another.
func all(changes ...func(m *dns.Msg)) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		for _, f := range changes {
			f(m)
		}
	}
}

// The options of the forms.
var (
	unknownOption = &dns.EDNS0_LOCAL{Code: 100}
	cookieOption  = &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}
	nsidOption    = &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	subnetOption  = &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{192, 0, 2, 0}}
	expireOption  = &dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true}
	keepOption    = &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	padOption     = &dns.EDNS0_PADDING{Padding: make([]byte, 64)}
	everyOption   = []dns.EDNS0{nsidOption, cookieOption, subnetOption, expireOption}
)

// complianceForms are ISC's EDNS compliance tests, by the names there, and more.
var complianceForms = slices.Concat([]form{
	{name: "dns: no EDNS"},
	{name: "aa: flag AA", change: func(m *dns.Msg) { m.Authoritative = true }},
	{name: "ad: flag AD", change: func(m *dns.Msg) { m.AuthenticatedData = true }},
	{name: "cd: flag CD", change: func(m *dns.Msg) { m.CheckingDisabled = true }},
	{name: "ra: flag RA", change: func(m *dns.Msg) { m.RecursionAvailable = true }},
	{name: "rd: no flag RD", change: func(m *dns.Msg) { m.RecursionDesired = false }},
	{name: "tc: flag TC", change: func(m *dns.Msg) { m.Truncated = true }},
	{name: "zflag: the reserved flag", change: func(m *dns.Msg) { m.Zero = true }},
	{name: "opcode 15, no question", change: func(m *dns.Msg) { m.Opcode, m.Question = 15, nil }},
	{name: "opcode 15, all flags", change: func(m *dns.Msg) {
		m.Opcode, m.Authoritative, m.Truncated, m.Zero, m.AuthenticatedData, m.CheckingDisabled = 15, true, true, true, true, true
	}},
	{name: "type666", change: qtype(666)},
	{name: "tcp", tcp: true},
	{name: "edns", change: edns(0)},
	{name: "edns@512", change: ednsSize(512, false)},
	{name: "edns@512, large answer, DO", change: large(ednsSize(512, true))},
	{name: "edns1: version 1", change: edns(1)},
	{name: "ednsopt: unknown option", change: edns(0, unknownOption)},
	{name: "ednsflags: unknown flag", change: all(edns(0), unknownFlag)},
	{name: "edns1opt: version 1, unknown option", change: edns(1, unknownOption)},
	{name: "edns1flags: version 1, unknown flag", change: all(edns(1), unknownFlag)},
	{name: "version 1, unknown option and flag", change: all(edns(1, unknownOption), unknownFlag)},
	{name: "do", change: ednsSize(4096, true)},
	{name: "docookie", change: all(edns(0, cookieOption), func(m *dns.Msg) { m.IsEdns0().SetDo() })},
	{name: "optlist: NSID, cookie, subnet, expire", change: edns(0, everyOption...)},
	{name: "ednsnsid", change: edns(0, nsidOption)},
	{name: "ednscookie", change: edns(0, cookieOption)},
	{name: "ednssubnet", change: edns(0, subnetOption)},
	{name: "ednsexpire", change: edns(0, expireOption)},
	{name: "edns1nsid", change: edns(1, nsidOption)},
	{name: "edns1cookie", change: edns(1, cookieOption)},
	{name: "edns1subnet", change: edns(1, subnetOption)},
	{name: "edns1expire", change: edns(1, expireOption)},
	{name: "keepalive", change: edns(0, keepOption)},
	{name: "padding", change: edns(0, padOption)},
	{name: "ednstcp", tcp: true, change: edns(0)},
	{name: "ednstcp, keepalive", tcp: true, change: edns(0, keepOption)},
	{name: "ednstcp, every option", tcp: true, change: edns(0, everyOption...)},
	{name: "large answer, no EDNS", change: large()},
	{name: "large answer, edns@4096", change: large(ednsSize(4096, false))},
	{name: "large answer, edns@0", change: large(ednsSize(0, false))},
	{name: "large answer, tcp", tcp: true, change: large()},
	{name: "AXFR", change: qtype(dns.TypeAXFR)},
	{name: "AXFR, tcp", tcp: true, change: qtype(dns.TypeAXFR)},
	{name: "ANY", change: qtype(dns.TypeANY)},
	{name: "class CH", change: func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }},
	{name: "two questions", change: func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }},
	{name: "two OPT records", change: all(edns(0), func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) })},
}, opcodeForms())

// opcodeForms asks with each opcode but those of the other forms.
func opcodeForms() (forms []form) {
	for code := 1; code < 15; code++ {
		forms = append(forms, form{name: fmt.Sprintf("opcode %d", code), change: opcode(code)})
	}
	return forms
}
