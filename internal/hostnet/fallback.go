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

// A Fallback answers for the cache's addresses that have nothing behind them
// while the cache is away: queries are rewritten to a cluster DNS Service,
// statelessly, in front of connection tracking, and their answers back. A
// conntrack zone for the original direction keeps such a flow apart from one
// between the same ports that asks the Service itself.
type Fallback struct {
	routes []route
	port   uint16
	watch  nftWatch
}

// A route is one address, where its queries go, and the flows' zone.
type route struct {
	addr, target netip.Addr
	zone         uint16
}

// newFallback returns nil if no address of c needs a fallback or has one.
func newFallback(c Config) *Fallback {
	f := &Fallback{port: c.Port}
	for i, a := range c.Addresses {
		target := slices.IndexFunc(c.Fallback, func(t netip.Addr) bool { return t.Is6() == a.Is6() })
		if target >= 0 && !slices.Contains(c.Fallback, a) && nothingBehind(a, c.Addresses) {
			f.routes = append(f.routes, route{a, c.Fallback[target], FallbackZone + uint16(i)})
		}
	}
	if len(f.routes) == 0 {
		return nil
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
	for _, six := range families(f.addresses()) {
		f.add(&b, six, away)
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("setting nftables table %s: %w", fallbackTable, err)
	}
	return f.watch.record()
}

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
					b.addRule(family, fallbackTable, c.name, r.comment(), r.answers(proto, f.port)...)
				} else {
					b.addRule(family, fallbackTable, c.name, r.comment(), r.queries(proto, f.port, slices.Contains(away, r.addr))...)
				}
			}
		}
	}
}

func (r route) comment() string { return "NodeLocal DNS Cache: while it is away" }

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
