// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestClients has two clients ask, one of them for a name that does not exist, too. What they got is told once. When their time is over,
// others get their places.
func TestClients(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query, s := known(t, servers), servers[server4]
	nx, err := new(dns.Msg).SetQuestion("none.example.org.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	none := entryFor(t, nx, "none.example.org. 30 IN A 192.0.2.1")
	none.Wire[3] |= dns.RcodeNameError
	s.Put(none, at(0))
	other := netip.MustParseAddr("10.244.1.3")
	// In place of the program's own, whose goroutine harvests at times of its own. The program counts in the places of that one.
	c := newClients(p.objects.Clients, p.gate.clients.slots)
	c.free, c.quota = []uint32{100, 101, 102, 103}, newQuota(4) // two for the first interface, one for the second
	admit := func(client netip.Addr, until uint64) bool {
		t.Helper()
		if err := c.admit(client, 1, s.number, testMAC, until); err != nil {
			t.Fatal(err)
		}
		_, ok := c.of[answerClient{Ip: wordsOf(client), Interface: 1, Server: uint32(s.number)}]
		return ok
	}
	ask := func(client netip.Addr, query []byte, want bool) {
		t.Helper()
		if got := run(t, p, frame(client, server4, query, complete)) != nil; got != want {
			t.Errorf("%s: answered %v, want %v", client, got, want)
		}
	}
	harvest := func(now uint64) map[string][2]uint64 {
		got := map[string][2]uint64{}
		c.harvest(now, p.serves, func(client netip.Addr, a *admission) {
			if e := p.table.at(a.last); e == nil || client == other && e != none {
				t.Errorf("the last answer to %s is %v", client, e)
			}
			got[client.String()] = [2]uint64{a.hits, a.nxdomain}
		})
		return got
	}
	now := clock()
	if !admit(client4, now+1e12) || !admit(other, now+2e12) || admit(netip.MustParseAddr("10.244.1.4"), now+1e12) {
		t.Error("there is room for two")
	}
	for range 3 {
		ask(client4, query, true)
		ask(other, nx, true)
	}
	ask(client4, nx, true)
	ask(client4, query, true)
	ask(netip.MustParseAddr("10.244.1.4"), query, false)
	if err := c.admit(client4, 2, s.number, testMAC, now+1e12); err != nil || len(c.of) != 3 {
		t.Errorf("no room for a client at another interface: %v, %v", c.of, err)
	}
	if got, want := harvest(now), map[string][2]uint64{client4.String(): {5, 1}, other.String(): {3, 3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	ask(other, nx, true)
	if got, want := harvest(now+1e12+1), map[string][2]uint64{other.String(): {1, 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	ask(client4, query, false) // its place is free
	if !admit(netip.MustParseAddr("10.244.1.4"), now+3e12) {
		t.Error("no room again")
	}
	ask(netip.MustParseAddr("10.244.1.4"), query, true)
	s.Stop()
	if harvest(now); len(c.of) > 0 || len(c.free) != 4 {
		t.Errorf("clients of a server that serves no more: %v, free %v", c.of, c.free)
	}
}

// TestQuota has four interfaces take in turns, and one give back.
func TestQuota(t *testing.T) {
	s := newQuota(100)
	for _, c := range []struct {
		ifindex uint32
		takes   int
	}{{1, 50}, {2, 25}, {3, 13}, {1, 0}, {2, 0}, {4, 6}} {
		n := 0
		for s.take(c.ifindex) {
			n++
		}
		if n != c.takes {
			t.Errorf("interface %d took %d, want %d", c.ifindex, n, c.takes)
		}
	}
	for range 50 {
		s.giveBack(1)
	}
	if s.left != 56 || len(s.taken) != 3 || !s.take(1) {
		t.Errorf("%d left, taken %v", s.left, s.taken)
	}
}
