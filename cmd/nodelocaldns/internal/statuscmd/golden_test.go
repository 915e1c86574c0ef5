// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// noon is when the reports of the tests are made.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return noon.Add(-d) }

var own, clusterIP = netip.MustParseAddr("169.254.20.10"), netip.MustParseAddr("10.96.0.10")

// steering is a cache with which all is well.
func steering() status.Report {
	left := 2.4
	address := func(a netip.Addr) status.NodeAddress {
		return status.NodeAddress{Address: a, State: "steered", Steered: true, Since: before(26*time.Hour + 4*time.Minute), Why: "it answers its self-queries", Left: &left}
	}
	return status.Report{
		Time: noon,
		Process: &status.Process{PID: 1, Version: "v0.1.0", Commit: "1f0c9a2", CoreDNS: "1.15.0", Started: before(26*time.Hour + 5*time.Minute),
			Source: "/etc/coredns/Corefile.base", Hash: "993caa284adc", Serving: before(73 * time.Minute), Reload: &status.Reload{Time: before(73 * time.Minute)}},
		Node: &status.Node{Owned: true, Looked: before(600 * time.Millisecond), Addresses: []status.NodeAddress{address(own), address(clusterIP)},
			Network: "tun nodelocaldns, iptables-nft", Fallback: []netip.Addr{own}, Rules: status.Rules{Looked: before(600 * time.Millisecond)}, Lease: 3},
		Upstreams: []status.Upstream{
			{Address: "10.96.0.11:53", Zones: []string{"cluster.local."}, Answered: before(80 * time.Millisecond), Stale: 3600, Timeout: 3},
			{Address: "10.96.0.11:53", Zones: []string{"in-addr.arpa.", "ip6.arpa."}, Stale: 3600, Timeout: 4},
		},
		Caches: []status.Cache{
			{Name: packetCache, Hits: 181230, Misses: 20410},
			{Name: cache, Hits: 196440, Misses: 5200, Old: 12},
			{Name: keep, Hits: 310, Misses: 4890, Old: 18},
		},
	}
}

// off makes the first n addresses of r not steered.
func off(r status.Report, n int, since time.Duration, state, why string) status.Report {
	for i := range n {
		a := &r.Node.Addresses[i]
		a.Steered, a.State, a.Since, a.Why = false, state, before(since), why
	}
	return r
}

// states are all that the text has to tell apart. Each has the exit code, what the kernel says, and what each process has answered.
var states = map[string]struct {
	code   int
	kernel *kernel
	all    func() []instance
}{
	"steered": {0, nil, func() []instance { return []instance{{Report: steering()}} }},
	"deaf": {1, nil, func() []instance {
		return []instance{{Report: off(steering(), 1, 192*time.Second, "standing", "no answer to 3 self-queries in a row")}}
	}},
	"starting": {1, nil, func() []instance {
		r := steering()
		r.Process.Started, r.Process.Hash, r.Process.Reload, r.Node, r.Upstreams, r.Caches = before(3*time.Second), "", nil, nil, nil, nil
		return []instance{{Report: r}}
	}},
	"lock held at the start": {1, nil, func() []instance {
		r := steering()
		r.Process.Hash, r.Process.Reload, r.Upstreams, r.Caches = "", nil, nil, nil
		r.Node = &status.Node{Owned: true, Waiting: "to set up the node's network: another program holds the xtables lock"}
		return []instance{{Report: r}}
	}},
	"lock held": {1, nil, func() []instance {
		r := off(steering(), 2, 8*time.Second, "forsaken", "no answer to 3 self-queries in a row; the rules cannot be changed, so the address is off the link")
		r.Node.Rules.Error = "setting the iptables-legacy rules: another program holds the xtables lock"
		r.Node.Addresses[0].Left, r.Node.Addresses[1].Left = nil, nil
		return []instance{{Report: r}}
	}},
	"slow look": {1, nil, func() []instance {
		r := steering()
		r.Node.Looked = before(12 * time.Second)
		r.Node.Rules = status.Rules{Looked: before(42 * time.Second), Repaired: "rules", At: before(42 * time.Second)}
		return []instance{{Report: r}}
	}},
	"hung": {1, &kernel{
		instances: []string{"udp 127.53.0.1:60 is held by pid 4711 (nodelocaldns), user 0"},
		found:     []string{"link nodelocaldns (tuntap) with no address", "iptables-nft rules", "nftables table ip nodelocaldns_fallback"},
		servers:   []string{"udp 169.254.20.10:53 is held by pid 4711 (nodelocaldns), user 0"},
	}, func() []instance {
		return []instance{{Socket: "/run/nodelocaldns/status-1.sock", Unanswered: "the process at /run/nodelocaldns/status-1.sock hangs: it has not answered within 3s"}}
	}},
	"bad configuration": {1, nil, func() []instance {
		r := steering()
		r.Process.Fault = `/etc/coredns/Corefile.base:2: unknown directive "chache" (did you mean "cache"?)`
		r.Process.Reload = &status.Reload{Time: before(3 * time.Minute), Error: r.Process.Fault}
		return []instance{{Report: r}}
	}},
	"mended configuration": {0, nil, func() []instance {
		r := steering()
		r.Process.Reload = &status.Reload{Time: before(3 * time.Minute), Error: `/etc/coredns/Corefile.base:2: unknown directive "chache" (did you mean "cache"?)`}
		return []instance{{Report: r}}
	}},
	"stand-in": {1, nil, func() []instance {
		r := steering()
		r.Process.Fault, r.Process.Reload = `/etc/coredns/Corefile.base:2: unknown directive "chache" (did you mean "cache"?)`, nil
		r.Process.StandIn = "the last configuration that worked"
		return []instance{{Report: r}}
	}},
	"upstream silent": {1, nil, func() []instance {
		r := steering()
		r.Upstreams = append(r.Upstreams[:1], status.Upstream{Address: "192.0.2.1:53", Zones: []string{"."}, Timeout: 4})
		for i := range r.Upstreams {
			r.Upstreams[i].Silent, r.Upstreams[i].Since = true, before(47*time.Second)
		}
		return []instance{{Report: r}}
	}},
	"turn kept": {1, nil, func() []instance {
		r := off(steering(), 2, 9*time.Second, "standing", "it answers its self-queries, but the rules could not be changed: another instance on this node is leaving")
		r.Node.Awaited, r.Node.Turn = before(8*time.Second), "udp 127.53.0.100:60 is held by pid 4711 (nodelocaldns), user 0"
		return []instance{{Report: r}}
	}},
	"another instance": {0, nil, func() []instance {
		one, two := steering(), steering()
		one.Node.Peers = "udp 127.53.0.2:60 is held by pid 4712 (nodelocaldns), user 0"
		two.Node.Peers, two.Node.Network = "udp 127.53.0.1:60 is held by pid 4711 (nodelocaldns), user 0", "tun nodelocaldns1, iptables-nft"
		two.Node.Rules = status.Rules{Skipped: true}
		return []instance{{Socket: "/run/nodelocaldns/status-1.sock", Report: one}, {Socket: "/run/nodelocaldns/status-2.sock", Report: two}}
	}},
	"one leaves": {0, nil, func() []instance {
		one := off(steering(), 2, time.Second, "standing", "shutting down")
		one.Node.Leaving = true
		return []instance{{Socket: "/run/nodelocaldns/status-1.sock", Report: one}, {Socket: "/run/nodelocaldns/status-2.sock", Report: steering()}}
	}},
	"the only one leaves": {1, nil, func() []instance {
		one := off(steering(), 2, time.Second, "standing", "shutting down")
		one.Node.Leaving = true
		return []instance{{Report: one}}
	}},
	"nothing owned": {0, nil, func() []instance {
		r := steering()
		r.Node = &status.Node{}
		return []instance{{Report: r}}
	}},
	"no nodelocal": {0, nil, func() []instance {
		r := steering()
		r.Node = nil
		return []instance{{Report: r}}
	}},
	"busiest": {0, nil, func() []instance {
		r := steering()
		r.Busiest = &status.Busiest{Seconds: 10, Queries: 52340}
		for i := range 12 {
			n := uint64(40000 >> i)
			r.Busiest.Clients = append(r.Busiest.Clients, status.Client{Address: netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}), Queries: n, Misses: n / 2, NXDomain: n / 4, Name: "api.example.org."})
			r.Busiest.Names = append(r.Busiest.Names, status.Name{Name: fmt.Sprintf("name%d.example.org.", i), Queries: n})
		}
		return []instance{{Report: r}}
	}},
	"no instance": {2, &kernel{found: []string{"nftables table ip nodelocaldns_fallback"}}, func() []instance { return nil }},
	"nothing":     {2, &kernel{}, func() []instance { return nil }},
	"no socket": {1, &kernel{instances: []string{"udp 127.53.0.1:60 is held by pid 4711 (nodelocaldns), user 0"}, found: []string{"link nodelocaldns (tuntap) with 169.254.20.10"},
		servers: []string{"udp 169.254.20.10:53 is held by pid 4711 (nodelocaldns), user 0"}}, func() []instance { return nil }},
}

// TestText compares what is printed of each state with testdata.
func TestText(t *testing.T) {
	for name, s := range states {
		t.Run(name, func(t *testing.T) {
			all := s.all()
			judge(all, noon)
			if got := code(all, s.kernel); got != s.code {
				t.Errorf("exit code %d, want %d", got, s.code)
			}
			nettest.Golden(t, name+".txt", text(all, s.kernel, "/run/nodelocaldns"))
		})
	}
}
