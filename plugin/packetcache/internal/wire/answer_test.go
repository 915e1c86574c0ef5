// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// answerTo returns an answer with records in presentation format.
func answerTo(t testing.TB, query []byte, records ...string) []byte {
	t.Helper()
	return changedAnswer(t, query, nil, records...)
}

func changedAnswer(t testing.TB, query []byte, change func(*dns.Msg), records ...string) []byte {
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
	if change != nil {
		change(m)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

const a30 = "www.example.org. 30 IN A 192.0.2.1"

func TestWhatIsKept(t *testing.T) {
	query := pack(t, "www.example.org.", dns.TypeA, nil)
	k, _ := key(query)
	soa, _ := dns.NewRR("example.org. 7 IN SOA ns.example.org. h.example.org. 1 2 3 4 5")
	for name, c := range map[string]struct {
		wire []byte
		ttl  time.Duration // 0: not kept
	}{
		"an address":       {answerTo(t, query, a30), 30 * time.Second},
		"the smallest TTL": {answerTo(t, query, "www.example.org. 30 IN CNAME a.example.org.", "a.example.org. 4 IN A 192.0.2.1"), 4 * time.Second},
		"with EDNS":        {changedAnswer(t, query, edns(1232, false), a30), 30 * time.Second},
		"NXDOMAIN": {changedAnswer(t, query, func(m *dns.Msg) {
			m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa}
		}), 7 * time.Second},
		"TTL 0":            {answerTo(t, query, "www.example.org. 0 IN A 192.0.2.1"), 0},
		"no record":        {answerTo(t, query), 0},
		"SERVFAIL":         {changedAnswer(t, query, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, a30), 0},
		"truncated":        {changedAnswer(t, query, func(m *dns.Msg) { m.Truncated = true }, a30), 0},
		"another question": {answerTo(t, pack(t, "w.example.org.", dns.TypeA, nil), a30), 0},
		"cut off":          {answerTo(t, query, a30)[:50], 0},
		"a query":          {query, 0},
		"octets behind":    {append(answerTo(t, query, a30), 0), 0},
	} {
		a, ok := readAnswer(c.wire, k)
		if ok != (c.ttl > 0) || ok && a.ttl != c.ttl {
			t.Errorf("%s: kept %t for %s, want %s", name, ok, a.ttl, c.ttl)
		}
	}
}

func TestReplay(t *testing.T) {
	k, _ := key(pack(t, "www.example.org.", dns.TypeA, nil))
	wire := changedAnswer(t, pack(t, "www.example.org.", dns.TypeA, nil), edns(1232, true), a30, "www.example.org. 20 IN A 192.0.2.2")
	a, ok := readAnswer(wire, k)
	if !ok || !a.shuffled {
		t.Fatalf("kept %t, %+v", ok, a)
	}
	e := &entry{key: k, wire: wire, ttls: a.ttls, stored: 5 * time.Second}
	again := pack(t, "wWW.examplE.org.", dns.TypeA, func(m *dns.Msg) { m.Id = 4711 })
	out := make([]byte, maxAnswer)
	n := e.replay(out, again, 7900*time.Millisecond)
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
