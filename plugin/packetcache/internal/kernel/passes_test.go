// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// known is a query whose answer the program has for both servers.
func known(t testing.TB, servers map[netip.Addr]*Server) []byte {
	t.Helper()
	query, err := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA).SetEdns0(1232, false).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.Put(entryFor(t, query, "www.example.org. 30 IN A 192.0.2.1"), at(0))
	}
	return query
}

// entryFor is the answer with one record to a query, stored at 0, for an hour.
func entryFor(t testing.TB, query []byte, record string) *store.Entry {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(query); err != nil {
		t.Fatal(err)
	}
	rr, err := dns.NewRR(record)
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg).SetReply(&m)
	r.Answer = []dns.RR{rr}
	if m.IsEdns0() != nil {
		r.SetEdns0(1232, false)
	}
	data, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	key, ok := wire.ParseQuery(query, make([]byte, wire.MaxKey))
	if !ok {
		t.Fatal("the query is of an unusual form")
	}
	a, _ := wire.ReadAnswer(data, key)
	return &store.Entry{Key: bytes.Clone(key), Wire: data, TTLs: a.TTLs, Expires: time.Hour, Ends: time.Hour}
}

// TestPasses has the program pass on whatever it is not sure of. The frames differ from one that it answers in one place.
func TestPasses(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	var offset = map[netip.Addr]int{server4: 14 + 20, server6: 14 + 40} // of the UDP header
	change := func(at int, xor byte) func([]byte, int) []byte {
		return func(f []byte, udp int) []byte { f[udp+at] ^= xor; return f }
	}
	both := []netip.Addr{server4, server6}
	v4, v6 := both[:1], both[1:]
	for name, c := range map[string]struct {
		servers []netip.Addr
		change  func(frame []byte, udp int) []byte
	}{
		"another port":               {both, change(3, 1)},
		"a bad checksum":             {both, change(6, 1)},
		"a longer UDP length":        {both, change(5, 1)},
		"an answer":                  {both, change(8+2, 0x80)},
		"another opcode":             {both, change(8+2, 0x10)},
		"truncated":                  {both, change(8+2, 0x02)},
		"Z":                          {both, change(8+3, 0x40)},
		"two questions":              {both, change(8+5, 3)},
		"an answer record":           {both, change(8+7, 1)},
		"an authority record":        {both, change(8+9, 1)},
		"two additional records":     {both, change(8+11, 3)},
		"another name":               {both, change(8+13, 1)},
		"another type":               {both, change(len(query)-11-3+8, 1)},
		"another class":              {both, change(len(query)-11-1+8, 2)},
		"no OPT":                     {both, change(len(query)-11+2+8, 1)},
		"another size":               {both, change(len(query)-11+4+8, 1)},
		"another EDNS version":       {both, change(len(query)-11+6+8, 1)},
		"DO":                         {both, change(len(query)-11+7+8, 0x80)},
		"an EDNS flag":               {both, change(len(query)-11+8+8, 1)},
		"options":                    {both, change(len(query)-11+10+8, 4)},
		"an octet more":              {both, func(f []byte, _ int) []byte { return append(f, 0) }},
		"an octet less":              {both, func(f []byte, _ int) []byte { return f[:len(f)-1] }},
		"a header alone":             {both, func(f []byte, udp int) []byte { return f[:udp+8] }},
		"IP options":                 {v4, change(-20, 0x01)},
		"a fragment":                 {v4, change(-14, 0x20)},
		"a later fragment":           {v4, change(-13, 0x01)},
		"TCP":                        {v4, change(-11, unixTCP^17)},
		"a bad IP checksum":          {v4, change(-10, 0x01)},
		"another IPv4 address":       {v4, change(-1, 0x01)},
		"another IPv4 sender":        {v4, change(-5, 0x01)},
		"another sender's MAC, IPv4": {v4, change(-28, 0x01)},
		"another sender's MAC, IPv6": {v6, change(-48, 0x01)},
		"an extension header":        {v6, change(-34, 17^60)},
		"another IPv6 address":       {v6, change(-1, 0x01)},
		"another IPv6 sender":        {v6, change(-17, 0x01)},
		"another length":             {v6, change(-35, 0x01)},
		"a compressed name":          {both, change(8+12, 3^0xc0)},
		"a capital as a length":      {both, change(8+12, 3^'C')},
		"a VLAN tag":                 {both, func(f []byte, _ int) []byte { return slices.Insert(f, 12, 0x81, 0, 0, 5) }},
		"no checksum":                {v6, func(f []byte, udp int) []byte { f[udp+6], f[udp+7] = 0, 0; return f }},
		"a jumbogram":                {v6, func(f []byte, udp int) []byte { f[udp-36], f[udp-35] = 0, 0; return f }},
		"a header of options before UDP": {v6, func(f []byte, udp int) []byte {
			f[udp-34], f[udp-35] = 60, f[udp-35]+8
			return slices.Insert(f, udp, 17, 0, 1, 4, 0, 0, 0, 0)
		}},
		"an IP option": {v4, func(f []byte, udp int) []byte {
			f[udp-20], f[udp-17] = 0x46, f[udp-17]+4
			return slices.Insert(f, udp, 1, 1, 1, 1)
		}},
	} {
		for _, server := range c.servers {
			client := map[netip.Addr]netip.Addr{server4: client4, server6: client6}[server]
			for _, repaired := range []bool{false, true} {
				f := frame(client, server, query, complete)
				if run(t, p, bytes.Clone(f)) == nil {
					t.Fatal("the frame itself is not answered")
				}
				f = c.change(f, offset[server])
				if repaired { // so that the program has to look further than at the checksum
					if strings.Contains(name, "checksum") || !repair(f, offset[server]) {
						continue
					}
				}
				if out := run(t, p, f); out != nil {
					t.Errorf("%s, %s, checksums repaired %v: answered % x", name, server, repaired, out)
				}
			}
		}
	}
}

const unixTCP = 6

// repair gives a frame the right checksums. It returns false for a frame that has no UDP header where it should be.
func repair(f []byte, udp int) bool {
	if len(f) < udp+8 {
		return false
	}
	ip := f[14:udp]
	var pseudo []byte
	if len(ip) == 20 {
		ip[10], ip[11] = 0, 0
		binary.LittleEndian.PutUint16(ip[10:], ^sum(ip))
		pseudo = bytes.Clone(ip[12:])
	} else {
		pseudo = bytes.Clone(ip[8:])
	}
	length := len(f) - udp
	pseudo = append(pseudo, 0, 17, byte(length>>8), byte(length))
	f[udp+6], f[udp+7] = 0, 0
	binary.LittleEndian.PutUint16(f[udp+6:], ^sum(append(pseudo, f[udp:]...)))
	return true
}

// TestEnds goes through the ways in which the program ceases to answer.
func TestEnds(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	asked := func(server, client netip.Addr) bool { return run(t, p, frame(client, server, query, complete)) != nil }
	if !asked(server4, client4) || !asked(server6, client6) {
		t.Fatal("not answered at first")
	}
	admitUntil(t, p, client4, servers[server4], clock()-1)
	if asked(server4, client4) {
		t.Error("answered a client whose admission is over")
	}
	admitUntil(t, p, client4, servers[server4], clock()+uint64(time.Hour))
	until := func(when uint64) { // none renews the lease meanwhile
		p.mu.Lock()
		defer p.mu.Unlock()
		atomic.StoreUint64(servers[server4].lease(), when)
		if answered := asked(server4, client4); answered != (when > clock()) {
			t.Errorf("lease until %d, at %d: answered %v", when, clock(), answered)
		}
	}
	until(clock() - 1)
	until(clock() + uint64(time.Minute))
	until(1)
	if p.renew(); !asked(server4, client4) {
		t.Error("not answered after the lease was renewed")
	}
	servers[server6].Stop()
	p.renew()
	if asked(server6, client6) || !asked(server4, client4) {
		t.Error("answered after the end, or the end was that of both servers")
	}
	servers[server6].Put(entryFor(t, query, "www.example.org. 30 IN A 192.0.2.2"), at(0))
	if asked(server6, client6) {
		t.Error("a late answer counts")
	}
	expired := entryFor(t, query, "www.example.org. 30 IN A 192.0.2.1")
	expired.Expires = 1
	servers[server4].Put(expired, at(2))
	if asked(server4, client4) {
		t.Error("gave an answer that has expired")
	}
}

// TestPlaces fills the table several times: an answer takes the place of an older one to the same question, else of the one that
// ends first. No answer is given for another question.
func TestPlaces(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	rng := rand.New(rand.NewPCG(3, 4))
	var queries [][]byte
	for range 3 * buckets * ways {
		query, e, ok := randomEntry(rng)
		if !ok {
			continue
		}
		e.Expires = time.Hour + time.Duration(rng.IntN(1000))
		servers[server4].Put(e, at(0))
		queries = append(queries, query)
	}
	answered := 0
	for _, q := range queries {
		out := run(t, p, frame(client4, server4, q, complete))
		if out == nil {
			continue
		}
		answered++
		got := message(t, out, client4, server4, complete)
		if !bytes.Equal(got[:2], q[:2]) || !bytes.Equal(got[12:16], q[12:16]) {
			t.Fatalf("% x is no answer to % x", got, q)
		}
	}
	if answered < buckets*ways*9/10 || answered > buckets*ways {
		t.Errorf("%d of %d questions are answered, want nearly %d", answered, len(queries), buckets*ways)
	}
}
