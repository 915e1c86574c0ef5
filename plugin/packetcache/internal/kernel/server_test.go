// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net/netip"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestServers has a server replaced by another one at its address, as in a reload: the answers and the clients of the first are not those
// of the second. The last one's end makes room.
func TestServers(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	asked := func() bool { return run(t, p, frame(client4, server4, query, complete)) != nil }
	first := servers[server4]
	second, err := p.Serve(server4, first.terms)
	if err != nil || second.number == first.number {
		t.Fatalf("number %d again, or %v", second.number, err)
	}
	if asked() {
		t.Error("the second server gives the first one's answers")
	}
	second.Put(entryFor(t, query, "www.example.org. 30 IN A 192.0.2.2"), at(0))
	if asked() {
		t.Error("the second server answers the first one's clients")
	}
	admitUntil(t, p, client4, second, clock()+uint64(time.Hour))
	if first.Stop(); !asked() {
		t.Error("not answered after the end of the server that was replaced")
	}
	p.table.harvest(clock(), p.serves)
	for i, from := range p.table.from {
		if from != nil && p.table.entries[i].server == first.number {
			t.Error("an answer of the server that was replaced is kept")
		}
	}
	first.Stop()                               // does nothing
	late, err := p.Serve(server4, first.terms) // of a configuration that was replaced before its program was loaded
	if err != nil {
		t.Fatal(err)
	}
	if late.Stop(); !asked() {
		t.Error("not answered after the end of a server that began late")
	}
	if second.Stop(); asked() {
		t.Error("answered after the end")
	}
	addr := netip.MustParseAddr("198.51.100.0")
	for range 3 { // server6 serves all the time
		var all []*Server
		for len(all) < len(p.leases)-1 {
			addr = addr.Next()
			s, err := p.Serve(addr, first.terms)
			if err != nil {
				t.Fatalf("%d servers: %v", len(all), err)
			}
			all = append(all, s)
		}
		if _, err := p.Serve(addr.Next(), first.terms); err == nil {
			t.Error("one more than there is room for")
		}
		for _, s := range all {
			s.Stop()
		}
	}
}
