// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

func TestWhatIsKept(t *testing.T) {
	query := wiretest.Pack(t, "www.example.org.", dns.TypeA, nil)
	k, _ := key(query)
	soa, _ := dns.NewRR("example.org. 7 IN SOA ns.example.org. h.example.org. 1 2 3 4 5")
	for name, c := range map[string]struct {
		wire []byte
		ttl  time.Duration // 0: not kept
	}{
		"an address":       {wiretest.AnswerTo(t, query, wiretest.A30), 30 * time.Second},
		"the smallest TTL": {wiretest.AnswerTo(t, query, "www.example.org. 30 IN CNAME a.example.org.", "a.example.org. 4 IN A 192.0.2.1"), 4 * time.Second},
		"with EDNS":        {wiretest.ChangedAnswer(t, query, wiretest.EDNS(1232, false), wiretest.A30), 30 * time.Second},
		"with a cookie":    {wiretest.ChangedAnswer(t, query, wiretest.Option(wiretest.Cookie("0123456789abcdef")), wiretest.A30), 0},
		"with an error":    {wiretest.ChangedAnswer(t, query, wiretest.Option(&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeStaleAnswer}), wiretest.A30), 0},
		"NXDOMAIN": {wiretest.ChangedAnswer(t, query, func(m *dns.Msg) {
			m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa}
		}), 7 * time.Second},
		"TTL 0":            {wiretest.AnswerTo(t, query, "www.example.org. 0 IN A 192.0.2.1"), 0},
		"no record":        {wiretest.AnswerTo(t, query), 0},
		"SERVFAIL":         {wiretest.ChangedAnswer(t, query, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, wiretest.A30), 0},
		"truncated":        {wiretest.ChangedAnswer(t, query, func(m *dns.Msg) { m.Truncated = true }, wiretest.A30), 0},
		"another question": {wiretest.AnswerTo(t, wiretest.Pack(t, "w.example.org.", dns.TypeA, nil), wiretest.A30), 0},
		"cut off":          {wiretest.AnswerTo(t, query, wiretest.A30)[:50], 0},
		"a query":          {query, 0},
		"octets behind":    {append(wiretest.AnswerTo(t, query, wiretest.A30), 0), 0},
	} {
		a, ok := ReadAnswer(c.wire, k)
		if ok != (c.ttl > 0) || ok && a.TTL != c.ttl {
			t.Errorf("%s: kept %t for %s, want %s", name, ok, a.TTL, c.ttl)
		}
	}
}

func TestReplay(t *testing.T) {
	k, _ := key(wiretest.Pack(t, "www.example.org.", dns.TypeA, nil))
	wire := wiretest.ChangedAnswer(t, wiretest.Pack(t, "www.example.org.", dns.TypeA, nil), wiretest.EDNS(1232, true), wiretest.A30, "www.example.org. 20 IN A 192.0.2.2")
	a, ok := ReadAnswer(wire, k)
	if !ok || !a.Shuffled {
		t.Fatalf("kept %t, %+v", ok, a)
	}
	again := wiretest.Pack(t, "wWW.examplE.org.", dns.TypeA, func(m *dns.Msg) { m.Id = 4711 })
	out := make([]byte, MaxAnswer)
	n := Replay(out, again, wire, k, a.TTLs, 2)
	var m dns.Msg
	if err := m.Unpack(out[:n]); err != nil {
		t.Fatal(err)
	}
	if m.Id != 4711 || m.Question[0].Name != "wWW.examplE.org." {
		t.Errorf("%v", &m)
	}
	if got := fmt.Sprint(m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl, m.IsEdns0().UDPSize(), m.IsEdns0().Do()); got != "28 18 1232 true" {
		t.Error(got)
	}
}

// TestRefuse compares with the answer that miekg/dns makes.
func TestRefuse(t *testing.T) {
	for _, query := range [][]byte{
		wiretest.Pack(t, "www.example.org.", dns.TypeA, nil),
		wiretest.Pack(t, strings.Repeat(strings.Repeat("a", 62)+".", 4)+"b.", dns.TypeAAAA, wiretest.EDNS(1232, true)),
		wiretest.Pack(t, "www.example.org.", dns.TypeA, wiretest.Option(wiretest.Cookie("01234567"), &dns.EDNS0_PADDING{Padding: make([]byte, 99)})),
		wiretest.Pack(t, "wWw.example.org.", dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData, m.CheckingDisabled, m.RecursionDesired = true, true, false }),
	} {
		out := make([]byte, MaxAnswer)
		var q, m dns.Msg
		if err := q.Unpack(query); err != nil {
			t.Fatal(err)
		}
		want := new(dns.Msg).SetRcode(&q, dns.RcodeServerFailure)
		if want.Extra = q.Extra; q.IsEdns0() != nil {
			q.IsEdns0().Option = nil
		}
		k, _ := key(query)
		if err := m.Unpack(out[:Refuse(out, query, k)]); err != nil || m.String() != want.String() {
			t.Errorf("%v\n%v\nwant\n%v", err, &m, want)
		}
	}
}
