// SPDX-License-Identifier: Apache-2.0

package shares

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"
)

var (
	a, b = netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("10.244.1.2")
)

// enter asks for n places and returns how many of them were given.
func enter(p *Places, client netip.Addr, n int, favoured bool) (admitted int, last Verdict) {
	for range n {
		if last = p.Enter(client, favoured); last == Admitted {
			admitted++
		}
	}
	return admitted, last
}

func leave(p *Places, client netip.Addr, n int) {
	for range n {
		p.Leave(client)
	}
}

func TestAloneMayHaveAll(t *testing.T) {
	p := New(1000, nil)
	if n, last := enter(p, a, 2000, false); n != 1000 || last != Full {
		t.Errorf("a client that is alone got %d places of 1000, and then %q", n, last)
	}
}

// A second client finds places at once, and in the end each client has its share.
func TestSecondFindsAPlace(t *testing.T) {
	p := New(1000, nil)
	enter(p, a, 1000, false)
	if n, last := enter(p, b, 2000, false); n != 250 || last != Full {
		t.Errorf("the second client got %d places of the reserve of 250, and then %q", n, last)
	}
	for range 1000 { // what the first gives back goes to the second
		p.Leave(a)
		if v := p.Enter(a, false); v == Admitted && p.held[a] > 500 {
			t.Fatalf("the first client has %d places, and got one more", p.held[a])
		}
		p.Enter(b, false)
	}
	if p.held[b] != 500 || p.held[a] > 500 {
		t.Errorf("the first has %d and the second %d places of 1000", p.held[a], p.held[b])
	}
}

func TestManyClients(t *testing.T) {
	p := New(1000, nil)
	for i := range 600 { // each asks for A and AAAA at once
		c := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if n, last := enter(p, c, 2, false); n != 2 && i < 500 {
			t.Fatalf("client %d of 600 got %d of 2 places: %q", i, n, last)
		}
	}
	if p.used > 1250 {
		t.Errorf("%d places of 1000 and the reserve are taken", p.used)
	}
}

func TestFavoured(t *testing.T) {
	p := New(1000, nil)
	enter(p, a, 1000, false)
	if n, _ := enter(p, a, 300, true); n != 125 {
		t.Errorf("favoured queries got %d of the reserve of 250, want half of it", n)
	}
	for _, favoured := range []bool{true, false} { // the other half is for others, whatever they ask
		if n, _ := enter(p, b, 60, favoured); n != 60 {
			t.Errorf("another client got %d of 60 places, favoured: %t", n, favoured)
		}
	}
}

// A host that asks from all addresses of its /64 leaves the reserve to others; as many pods as a node has are no such host.
func TestCrowd(t *testing.T) {
	for clients, want := range map[int]Verdict{250: Admitted, 1000: OverShare} {
		p := New(1000, nil)
		at := func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)})
		}
		for i := range 1000 {
			p.Enter(at(i%clients), false)
		}
		if p.used != 1000 {
			t.Fatalf("%d addresses of one /64 got %d of 1000 places", clients, p.used)
		}
		if v := p.Enter(at(2000), false); v != want {
			t.Errorf("one more after %d addresses of its /64: %s, want %s", clients, v, want)
		}
		for _, other := range []netip.Addr{a, netip.MustParseAddr("fd00:1::1")} {
			if n, _ := enter(p, other, 1, false); n != 1 {
				t.Errorf("%s of another network got no place", other)
			}
			p.Leave(other)
		}
		for client, n := range p.held {
			leave(p, client, n)
		}
		if len(p.networks) > 0 {
			t.Errorf("networks are left: %v", p.networks)
		}
	}
}

// A pod that sends from all addresses of a /24 does not get the reserve.
func TestAllOfASubnet(t *testing.T) {
	p := New(2048, nil)
	for i := range 20000 {
		p.Enter(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), false)
	}
	if n, last := enter(p, netip.MustParseAddr("10.0.1.1"), 8, false); n != 8 {
		t.Errorf("another client got %d of 8 places: %s", n, last)
	}
}

func TestLeaveForgets(t *testing.T) {
	p := New(10, nil)
	enter(p, a, 10, false)
	leave(p, a, 10)
	if p.used != 0 || len(p.held) != 0 {
		t.Errorf("%d places are in use after all have left, by %v", p.used, p.held)
	}
}

func TestTell(t *testing.T) {
	var told []string
	p := New(2, func(client netip.Addr, n int) { told = append(told, fmt.Sprint(client, " ", n)) })
	now := time.Now()
	p.now = func() time.Time { return now }
	enter(p, a, 7, false) // 5 refused, and the first is told
	enter(p, b, 1, false) // has its share
	now = now.Add(tellEvery)
	enter(p, a, 1, false)
	want := "[10.244.1.1 1 10.244.1.1 5]"
	if got := fmt.Sprint(told); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestClient(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "fd00:1:2:3:4::5": "fd00:1:2:3:4::5", "fe80::1%eth0": "fe80::1",
	} {
		if got := Client(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s is counted as %s, want %s", in, got, want)
		}
	}
}

func TestExcess(t *testing.T) {
	for _, c := range []struct {
		a, b, overA, overB int
	}{{50, 0, 0, 0}, {100, 0, 0, 0}, {120, 0, 20, 0}, {50, 10, 0, 0}, {90, 10, 40, 0}, {70, 60, 20, 10}} {
		held := map[netip.Addr]int{a: c.a}
		if c.b > 0 {
			held[b] = c.b
		}
		want := map[netip.Addr]int{}
		if c.overA > 0 {
			want[a] = c.overA
		}
		if c.overB > 0 {
			want[b] = c.overB
		}
		if got := Excess(100, held); !maps.Equal(got, want) {
			t.Errorf("%d and %d of 100: %v too many, want %v", c.a, c.b, got, want)
		}
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	p := New(4096, nil)
	for i := range b.N {
		c := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		p.Enter(c, false)
		p.Leave(c)
	}
}

// other is an address that is no *net.UDPAddr.
type other string

func (o other) Network() string { return "" }
func (o other) String() string  { return string(o) }

func TestAddress(t *testing.T) {
	udp := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 53}
	for want, a := range map[string]net.Addr{"10.0.0.1": udp, "10.0.0.2": other("10.0.0.2:53"), "fd00::1": other("[fd00::1]:53"), "invalid IP": other("pipe")} {
		if got := Address(a).Unmap().String(); got != want {
			t.Errorf("%v: %s, want %s", a, got, want)
		}
	}
	if a := Address(&net.UDPAddr{}); a.IsValid() {
		t.Errorf("the server itself has the address %s", a)
	}
}
