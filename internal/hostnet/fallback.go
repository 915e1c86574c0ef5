// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// fallbackTable is the name of the table, one a family, that outlives the process.
const fallbackTable = "nodelocaldns_fallback"

// priorityFallback is before the raw table's rules, so before connection tracking.
const priorityFallback = -310

// priorityMasquerade is before other programs' source NAT (100): who maps first, maps.
const priorityMasquerade = 90

// A Fallback sees to it that the cluster DNS answers while the cache does not.
//
// For the addresses that have nothing behind them, queries are rewritten to a
// cluster DNS Service, statelessly, in front of connection tracking, and their
// answers back. A conntrack zone for the original direction keeps such a flow
// apart from one between the same ports that asks the Service itself.
//
// For all addresses: what the host itself asks while an address is local has
// that address as its source, and would leave the node with it, where kube-proxy
// knows no cluster CIDR to masquerade by (kubernetes#134239).
type Fallback struct {
	routes []route
	addrs  []netip.Addr
	port   uint16
	watch  nftWatch
}

// A route is one address, where its queries go, and the flows' zone.
type route struct {
	addr, target netip.Addr
	zone         uint16
}

// newFallback returns nil if packets are nobody's business here.
func newFallback(c Config) *Fallback {
	if c.Firewall == None && len(c.Fallback) == 0 {
		return nil
	}
	f := &Fallback{addrs: c.Addresses, port: c.Port}
	for i, a := range c.Addresses {
		target := slices.IndexFunc(c.Fallback, func(t netip.Addr) bool { return t.Is6() == a.Is6() })
		if target >= 0 && !slices.Contains(c.Fallback, a) && nothingBehind(a, c.Addresses) {
			f.routes = append(f.routes, route{a, c.Fallback[target], FallbackZone + uint16(i)})
		}
	}
	return f
}

// nothingBehind reports whether a, one of addrs, is no Service's address: it is
// link-local, or the first of several IPv6 addresses, where the cache's own
// stands by convention and is not link-local. A Service's address must not be
// rewritten: the table outlives the cache, and maybe the Service it points to.
func nothingBehind(a netip.Addr, addrs []netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return true
	}
	six := slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is4)
	return a.Is6() && len(six) > 1 && six[0] == a
}

// Set makes the table answer for all its addresses while they are not on this
// host, and for those in away in any case.
func (f *Fallback) Set(away []netip.Addr) error {
	var b nftBatch
	f.watch.chains = nil
	for _, six := range families(f.addrs) {
		f.add(&b, six, away)
		f.addMasquerade(&b, six)
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("setting nftables table %s: %w", fallbackTable, err)
	}
	return f.watch.record()
}

// addresses returns those that the table answers for when the cache is gone.
func (f *Fallback) addresses() []netip.Addr {
	var out []netip.Addr
	for _, r := range f.routes {
		out = append(out, r.addr)
	}
	return out
}

// add puts the table of one family into b.
func (f *Fallback) add(b *nftBatch, six bool, away []netip.Addr) {
	family := nftFamily(six)
	b.replaceTable(family, fallbackTable)
	for _, c := range []struct {
		name, kind string
		hook       uint32
		priority   int32
		answers    bool
	}{
		{"prerouting", "filter", unix.NF_INET_PRE_ROUTING, priorityFallback, false},
		{"output", "route", unix.NF_INET_LOCAL_OUT, priorityFallback, false},
		{"postrouting", "filter", unix.NF_INET_POST_ROUTING, 300, true},
		{"input", "filter", unix.NF_INET_LOCAL_IN, 300, true},
	} {
		b.addChain(family, fallbackTable, c.name, c.kind, c.hook, c.priority)
		f.watch.chains = append(f.watch.chains, nftChain{family, fallbackTable, c.name})
		for _, r := range f.routes {
			if r.addr.Is6() != six {
				continue
			}
			for _, proto := range []string{"udp", "tcp"} {
				if c.answers {
					b.addRule(family, fallbackTable, c.name, commentAway, r.answers(proto, f.port)...)
				} else {
					b.addRule(family, fallbackTable, c.name, commentAway, r.queries(proto, f.port, slices.Contains(away, r.addr))...)
				}
			}
		}
	}
}

// addMasquerade adds the chain for the host's own queries.
func (f *Fallback) addMasquerade(b *nftBatch, six bool) {
	family := nftFamily(six)
	b.addChain(family, fallbackTable, "source", "nat", unix.NF_INET_POST_ROUTING, priorityMasquerade)
	f.watch.chains = append(f.watch.chains, nftChain{family, fallbackTable, "source"})
	for _, a := range f.addrs {
		if a.Is6() == six {
			b.addRule(family, fallbackTable, "source", commentAway, slices.Concat(matchAddr(a, true), matchNotLoopback(), []nftExpr{{name: "masq"}})...)
		}
	}
}

const commentAway = "NodeLocal DNS Cache: while it is away"

// queries rewrites what asks r.addr; the self-query's mark is exempt.
func (r route) queries(proto string, port uint16, away bool) []nftExpr {
	e := slices.Concat(matchAddr(r.addr, false), matchProto(proto), matchPort(port, false))
	if away {
		e = append(e, matchMark(unix.NFT_CMP_NEQ, SelfQueryMark)...)
	} else {
		e = append(e, matchLocal(unix.NFT_CMP_NEQ)...)
	}
	return slices.Concat(e, setZone(r.zone), setAddr(r.target, false))
}

// answers rewrites what comes back.
func (r route) answers(proto string, port uint16) []nftExpr {
	return slices.Concat(matchReplyInZone(r.zone), matchAddr(r.target, true), matchProto(proto), matchPort(port, true), setAddr(r.addr, true))
}

// Intact reports whether the table is as Set left it.
func (f *Fallback) Intact() (bool, error) { return f.watch.intact() }
