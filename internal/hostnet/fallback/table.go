// SPDX-License-Identifier: Apache-2.0

// Package fallback has the nftables table that sends DNS to the cluster's servers while the cache is away.
package fallback

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Name is the name of the table, one a family, that outlives the process.
const Name = "nodelocaldns_fallback"

// Priorities of its chains.
const (
	priorityRewrite    = -310 // before the raw table's rules, so before connection tracking
	priorityPin        = -110 // before other programs' destination NAT (-100): who maps first, maps
	priorityMasquerade = 90   // before other programs' source NAT (100)
	priorityAnswers    = 300  // after all NAT
)

// commentAway is the comment of its rules.
const commentAway = "NodeLocal DNS Cache: while it is away"

// A Table makes the cluster DNS answer while the cache does not. A connection that began with one of the two ends
// with the same one.
//
// An address that is no Service's has nobody else who answers for it. Its queries are rewritten to a cluster DNS
// Service, and the answers back. The rewriting is stateless and comes before connection tracking. A conntrack zone
// for the original direction keeps such a flow apart from a flow between the same ports that asks the Service itself.
// TCP connections that began so are remembered and stay with the Service.
//
// For every address, a TCP connection that began with the cache, untracked, stays with the cache when steering goes
// off. While an address is local, queries of the host itself have that address as their source. They would leave the
// node with it where kube-proxy knows no cluster CIDR to masquerade by (kubernetes#134239), so the table masquerades
// them.
//
// Nobody else answers for a link-local address without a Service. While such an address is not on this host, its queries are
// refused, so that a client asks its next nameserver at once. Other addresses are never refused: without the address of the
// cluster DNS nobody knows whether a Service is behind them.
type Table struct {
	routes []route
	refuse []netip.Addr
	addrs  []netip.Addr
	port   uint16
	keeps  bool // no client of the cache is forgotten before its time: the kernel cannot
	watch  nft.Watch
}

// A route is one address, the Service to which its queries go, and the conntrack zone of the flows.
type route struct {
	addr, target netip.Addr
	zone         uint16
}

// New returns the table for a cache at addrs and port. services are addresses of the cluster DNS Service, at most one
// a family. The address at index i of addrs uses conntrack zone zone+i.
func New(addrs []netip.Addr, port uint16, services []netip.Addr, zone uint16) *Table {
	f := &Table{addrs: addrs, port: port}
	for i, a := range addrs {
		target := family.Of(a).Only(services)
		if len(target) > 0 && !slices.Contains(services, a) && NothingBehind(a, addrs, target[0]) {
			f.routes = append(f.routes, route{a, target[0], zone + uint16(i)})
		} else if len(target) == 0 && a.IsLinkLocalUnicast() {
			f.refuse = append(f.refuse, a)
		}
	}
	return f
}

// NothingBehind reports whether a, one of addrs, is the cache's own address and not a Service's. A Service's address must
// not be rewritten: the table outlives the cache, and maybe the Service it points to. A link-local address is the cache's own.
// So is the first of several IPv6 addresses, by convention. For a single IPv6 address target decides, the address of the
// cluster DNS Service: it is in the same /64 as all Services, since kube-apiserver refuses larger ranges. If target is not
// IPv6, the single address is a Service's where addrs has a Service's address in IPv4, too.
func NothingBehind(a netip.Addr, addrs []netip.Addr, target netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return true
	}
	six := family.IPv6.Only(addrs)
	switch {
	case a.Is4() || six[0] != a:
		return false
	case len(six) > 1:
		return true
	case target.Is6():
		return !netip.PrefixFrom(a, 64).Masked().Contains(target)
	}
	return !slices.ContainsFunc(addrs, func(b netip.Addr) bool { return b.Is4() && !b.IsLinkLocalUnicast() })
}

// Addresses returns the addresses that the table answers for when the cache is gone. A nil Table has none.
func (f *Table) Addresses() (out []netip.Addr) {
	if f == nil {
		return nil
	}
	for _, r := range f.routes {
		out = append(out, r.addr)
	}
	return out
}

// Exists reports whether there is a table already, of whatever family.
func Exists() bool { return nft.AnyTable(Name) }

// Set makes the table answer for all its addresses while they are not on this host, and for those in away in any
// case. The connections that it remembers stay, unless the table of a predecessor has another form.
func (f *Table) Set(away []netip.Addr) error { return f.set(away, away) }

// Leave makes the table answer for all its addresses until somebody, such as another program's cache, has them.
func (f *Table) Leave() error { return f.set(f.addrs, nil) }

// set makes the table keep no connection to the addresses in away, and rewrite queries to those in answered in any case.
func (f *Table) set(away, answered []netip.Addr) error {
	err := f.setAnyForm(away, answered)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		err = f.setLess(away, answered, err)
	}
	if err != nil {
		return fmt.Errorf("setting nftables table %s: %w", Name, err)
	}
	return f.watch.Record()
}

// setLess sets the table without what an older kernel cannot do, and remembers that. If the kernel can do nothing of the table,
// setLess returns err.
func (f *Table) setLess(away, answered []netip.Addr, err error) error {
	refuse, keeps := f.refuse, f.keeps
	for _, f.keeps = range []bool{keeps, true} {
		for _, f.refuse = range [][]netip.Addr{refuse, nil} {
			if f.setAnyForm(away, answered) == nil {
				return nil
			}
		}
	}
	f.refuse, f.keeps = refuse, keeps
	return err
}

func (f *Table) setAnyForm(away, answered []netip.Addr) error {
	fams, write := family.Among(f.addrs), func(t *nft.Table) { f.write(t, away, answered) }
	err := f.watch.Write(fams, Name, commentAway, (*nft.Batch).AddTable, write)
	if err != nil {
		err = f.watch.Write(fams, Name, commentAway, (*nft.Batch).ReplaceTable, write)
	}
	return err
}

// write writes the table of one family.
func (f *Table) write(t *nft.Table, away, answered []netip.Addr) {
	moved, own := clientSet(t.Family, "moved"), t.Family.Only(f.addrs)
	t.Set(moved)
	for _, a := range own {
		t.Set(f.held(a))
	}
	routes := slices.DeleteFunc(slices.Clone(f.routes), func(r route) bool { return family.Of(r.addr) != t.Family })
	for _, h := range []struct {
		num        uint32
		name, kind string
	}{{unix.NF_INET_PRE_ROUTING, "prerouting", "filter"}, {unix.NF_INET_LOCAL_OUT, "output", "route"}} {
		t.Chain(h.name, h.kind, h.num, priorityRewrite)
		for _, r := range routes {
			for _, rule := range r.queries(moved, f.port, slices.Contains(answered, r.addr)) {
				t.Rule(rule...)
			}
		}
		for _, a := range own {
			for _, rule := range f.hold(a, f.held(a), slices.Contains(away, a)) {
				t.Rule(rule...)
			}
		}
		for _, a := range t.Family.Only(f.refuse) {
			for _, proto := range []string{"udp", "tcp"} {
				t.Rule(slices.Concat(nft.MatchAddr(a, false), nft.MatchProto(proto), nft.MatchPort(f.port, false),
					nft.MatchLocal(unix.NFT_CMP_NEQ), []nft.Expr{nft.Reject(t.Family, proto)})...)
			}
		}
		t.Chain("pin_"+h.name, "nat", h.num, priorityPin)
		for _, a := range own {
			t.Rule(pin(a, f.port)...)
		}
	}
	for _, h := range []struct {
		num  uint32
		name string
	}{{unix.NF_INET_POST_ROUTING, "postrouting"}, {unix.NF_INET_LOCAL_IN, "input"}} {
		t.Chain(h.name, "filter", h.num, priorityAnswers)
		for _, r := range routes {
			t.Rule(r.answers("udp", f.port)...)
			t.Rule(r.answers("tcp", f.port)...)
		}
	}
	t.Chain("source", "nat", unix.NF_INET_POST_ROUTING, priorityMasquerade)
	for _, a := range own {
		t.Rule(masquerade(a, "udp", f.port)...)
		t.Rule(masquerade(a, "tcp", f.port)...)
	}
}

// held is the set of the clients whose TCP connections began with the cache at a.
func (f *Table) held(a netip.Addr) nft.Set {
	return clientSet(family.Of(a), fmt.Sprintf("held%d", slices.Index(f.addrs, a)))
}

// clientSet remembers clients. That of the name moved has those whose TCP connections are rewritten.
func clientSet(f family.Family, name string) nft.Set {
	return nft.Set{Family: f, Name: name, TTL: time.Minute}
}

// queries returns the rules that rewrite queries to r.addr. Of TCP, while the address is on this host, they rewrite
// only connections whose first packet they have seen: another connection began with the cache. Packets with the
// self-query's mark are not rewritten while the address is away.
func (r route) queries(moved nft.Set, port uint16, away bool) [][]nft.Expr {
	udp := slices.Concat(nft.MatchAddr(r.addr, false), nft.MatchProto("udp"), nft.MatchPort(port, false))
	tcp := slices.Concat(nft.MatchAddr(r.addr, false), nft.MatchProto("tcp"), nft.MatchPort(port, false))
	rewrite := slices.Concat(nft.SetZone(r.zone), nft.SetAddr(r.target, false))
	gone := nft.MatchLocal(unix.NFT_CMP_NEQ)
	rules := [][]nft.Expr{
		slices.Concat(tcp, moved.MatchKnown(), moved.Remember(), rewrite),
		slices.Concat(tcp, gone, moved.Remember(), rewrite),
	}
	if !away {
		return append(rules, slices.Concat(udp, gone, rewrite))
	}
	return append(rules,
		slices.Concat(tcp, nft.MatchTCPFlags(nft.FIN|nft.SYN|nft.RST|nft.ACK, nft.SYN), moved.Remember(), rewrite),
		slices.Concat(udp, nft.MatchMark(unix.NFT_CMP_NEQ, steering.SelfQueryMark), rewrite))
}

// answers returns the rule that rewrites the answers.
func (r route) answers(proto string, port uint16) []nft.Expr {
	return slices.Concat(nft.MatchReplyInZone(r.zone), nft.MatchAddr(r.target, true), nft.MatchProto(proto), nft.MatchPort(port, true), nft.SetAddr(r.addr, true))
}

// hold returns the rules that keep a TCP connection untracked if it began with the cache at a, whether steering is
// on, settling or off. Without them, connection tracking would take the middle of such a connection for a new one.
// kube-proxy in nftables mode rejects what is new and goes to a ClusterIP without having been mapped.
//
// A SYN that is seen while the cache is away removes the client from the set. Otherwise, with the source port of an
// earlier connection, the rest of the new connection would go to the cache.
func (f *Table) hold(a netip.Addr, held nft.Set, away bool) [][]nft.Expr {
	tcp := slices.Concat(nft.MatchAddr(a, false), nft.MatchProto("tcp"), nft.MatchPort(f.port, false))
	syn := slices.Concat(tcp, nft.MatchTCPFlags(nft.FIN|nft.SYN|nft.RST|nft.ACK, nft.SYN))
	local, keep := nft.MatchLocal(unix.NFT_CMP_EQ), append(held.Remember(), nft.Notrack())
	rules := [][]nft.Expr{slices.Concat(tcp, nft.MatchTCPFlags(nft.SYN, 0), local, held.MatchKnown(), keep)}
	forgotten := syn
	if !away {
		rules = append(rules, slices.Concat(syn, local, keep))
		forgotten = slices.Concat(syn, nft.MatchLocal(unix.NFT_CMP_NEQ))
	}
	if f.keeps {
		return rules
	}
	return append(rules, slices.Concat(forgotten, held.Forget()))
}

// pin returns the rule for connections with the cache that did not fit into the set of held clients. The middle of a
// TCP connection that connection tracking sees for the first time began untracked. The rule maps it to the cache's
// own address. Without the rule, the packet would be taken for a new connection and sent to the cluster DNS.
func pin(a netip.Addr, port uint16) []nft.Expr {
	return slices.Concat(nft.MatchAddr(a, false), nft.MatchProto("tcp"), nft.MatchPort(port, false),
		nft.MatchTCPFlags(nft.SYN, 0), nft.MatchLocal(unix.NFT_CMP_EQ), nft.DestinationNAT(a))
}

// masquerade returns the rule for queries of the host that have a as their source. It never matches the cache's own
// answers, tracked or not.
func masquerade(a netip.Addr, proto string, port uint16) []nft.Expr {
	return slices.Concat(nft.MatchAddr(a, true), nft.MatchProto(proto), nft.MatchNotPort(port), nft.MatchNotLoopback(), []nft.Expr{nft.Masquerade()})
}

// Intact reports whether the table is as Set left it.
func (f *Table) Intact() (bool, error) { return f.watch.Intact() }

// WasSet reports whether the rules were read back after a Set.
func (f *Table) WasSet() bool { return f.watch.Recorded() }
