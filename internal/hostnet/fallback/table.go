// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// fallbackTable is the name of the table, one a family, that outlives the process.
const fallbackTable = "nodelocaldns_fallback"

// Priorities of its chains.
const (
	priorityRewrite    = -310 // before the raw table's rules, so before connection tracking
	priorityPin        = -110 // before other programs' destination NAT (-100): who maps first, maps
	priorityMasquerade = 90   // before other programs' source NAT (100)
	priorityAnswers    = 300  // after all NAT
)

// commentAway is the comment of its rules.
const commentAway = "NodeLocal DNS Cache: while it is away"

// A Fallback sees to it that the cluster DNS answers while the cache does not,
// and that what was begun with one of them ends with it.
//
// For the addresses that have nothing behind them, queries are rewritten to a
// cluster DNS Service, statelessly, in front of connection tracking, and their
// answers back. A conntrack zone for the original direction keeps such a flow
// apart from one between the same ports that asks the Service itself. TCP
// connections that began so are remembered and stay so.
//
// For all addresses: a TCP connection that began with the cache, untracked, stays
// so when steering goes off. And what the host itself asks while an
// address is local has that address as its source, and would leave the node with
// it, where kube-proxy knows no cluster CIDR to masquerade by (kubernetes#134239).
type Fallback struct {
	routes []route
	addrs  []netip.Addr
	port   uint16
	keep   bool // forget no client before its time: the kernel cannot
	left   bool // this cache has left: who has an address now is asked
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
		at := slices.IndexFunc(c.Fallback, func(t netip.Addr) bool { return t.Is6() == a.Is6() })
		if at < 0 || slices.Contains(c.Fallback, a) {
			continue
		}
		if target := c.Fallback[at]; nothingBehind(a, c.Addresses, target) {
			f.routes = append(f.routes, route{a, target, c.FallbackZone + uint16(i)})
		}
	}
	return f
}

// nothingBehind reports whether a, one of addrs, is no Service's address, as
// target is one: a is link-local, or an IPv6 address that is the first of
// several, where the cache's own stands by convention, or is alone and in
// another /64 than target, as no range of Services is larger (kube-apiserver
// refuses it). A Service's address must not be rewritten: the table outlives
// the cache, and maybe the Service it points to.
func nothingBehind(a netip.Addr, addrs []netip.Addr, target netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return true
	}
	six := slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is4)
	if a.Is4() || six[0] != a {
		return false
	}
	return len(six) > 1 || !netip.PrefixFrom(a, 64).Masked().Contains(target)
}

// addresses returns those that the table answers for when the cache is gone.
func (f *Fallback) addresses() []netip.Addr {
	var out []netip.Addr
	for _, r := range f.routes {
		out = append(out, r.addr)
	}
	return out
}

// fallbackExists reports whether there is a table already, of whatever family.
func fallbackExists() bool {
	for _, six := range []bool{false, true} {
		if ok, err := nftTableExists(nftFamily(six), fallbackTable); ok && err == nil {
			return true
		}
	}
	return false
}

// Set makes the table answer for all its addresses while they are not on this
// host, and for those in away in any case. The connections that it remembers
// stay, unless the table of a predecessor has another form.
func (f *Fallback) Set(away []netip.Addr) error {
	err := f.setAnyForm(away)
	if errors.Is(err, unix.EOPNOTSUPP) && !f.keep {
		f.keep = true
		if f.setAnyForm(away) == nil {
			err = nil
		} else {
			f.keep = false
		}
	}
	if err != nil {
		return fmt.Errorf("setting nftables table %s: %w", fallbackTable, err)
	}
	return f.watch.record()
}

// Leave makes the table answer for all its addresses until somebody, such as
// another program's cache, has them.
func (f *Fallback) Leave() error {
	f.left = true
	return f.Set(f.addrs)
}

func (f *Fallback) setAnyForm(away []netip.Addr) error {
	err := f.set(away, (*nftBatch).addTable)
	if err != nil {
		err = f.set(away, (*nftBatch).replaceTable)
	}
	return err
}

func (f *Fallback) set(away []netip.Addr, begin func(*nftBatch, byte, string)) error {
	var b nftBatch
	f.watch.chains = nil
	for _, six := range families(f.addrs) {
		t := &tableWriter{batch: &b, watch: &f.watch, family: nftFamily(six), table: fallbackTable, comment: commentAway}
		begin(&b, t.family, t.table)
		f.write(t, six, away)
	}
	return b.commit()
}

// write writes the table of one family.
func (f *Fallback) write(t *tableWriter, six bool, away []netip.Addr) {
	set := movedSet(t.family)
	t.batch.addSet(set)
	for i, a := range f.addrs {
		if a.Is6() == six {
			t.batch.addSet(heldSet(t.family, i))
		}
	}
	routes := slices.DeleteFunc(slices.Clone(f.routes), func(r route) bool { return r.addr.Is6() != six })
	for _, hooknum := range []uint32{unix.NF_INET_PRE_ROUTING, unix.NF_INET_LOCAL_OUT} {
		t.chain(map[uint32]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_OUT: "output"}[hooknum],
			map[uint32]string{unix.NF_INET_PRE_ROUTING: "filter", unix.NF_INET_LOCAL_OUT: "route"}[hooknum], hooknum, priorityRewrite)
		for _, r := range routes {
			for _, rule := range r.queries(set, f.port, slices.Contains(away, r.addr) && !f.left) {
				t.rule(rule...)
			}
		}
		for i, a := range f.addrs {
			if a.Is6() != six {
				continue
			}
			for _, rule := range f.hold(a, heldSet(t.family, i), slices.Contains(away, a)) {
				t.rule(rule...)
			}
		}
		t.chain(map[uint32]string{unix.NF_INET_PRE_ROUTING: "pin_prerouting", unix.NF_INET_LOCAL_OUT: "pin_output"}[hooknum],
			"nat", hooknum, priorityPin)
		for _, a := range f.addrs {
			if a.Is6() == six {
				t.rule(pin(a, f.port)...)
			}
		}
	}
	for _, hooknum := range []uint32{unix.NF_INET_POST_ROUTING, unix.NF_INET_LOCAL_IN} {
		t.chain(map[uint32]string{unix.NF_INET_POST_ROUTING: "postrouting", unix.NF_INET_LOCAL_IN: "input"}[hooknum],
			"filter", hooknum, priorityAnswers)
		for _, r := range routes {
			t.rule(r.answers("udp", f.port)...)
			t.rule(r.answers("tcp", f.port)...)
		}
	}
	t.chain("source", "nat", unix.NF_INET_POST_ROUTING, priorityMasquerade)
	for _, a := range f.addrs {
		if a.Is6() == six {
			t.rule(masquerade(a, "udp", f.port)...)
			t.rule(masquerade(a, "tcp", f.port)...)
		}
	}
}

// movedSet remembers the clients whose TCP connections are rewritten.
func movedSet(family byte) nftSet { return clientSet(family, "moved") }

// heldSet remembers the clients whose TCP connections began with the cache at
// its i-th address.
func heldSet(family byte, i int) nftSet { return clientSet(family, fmt.Sprintf("held%d", i)) }

func clientSet(family byte, name string) nftSet {
	s := nftSet{family: family, table: fallbackTable, name: name, keyLen: 8, ttl: 60_000}
	if family == unix.NFPROTO_IPV6 {
		s.keyLen = 20
	}
	return s
}

// queries is the rules that rewrite what asks r.addr. While the address is on
// this host, of TCP only whole connections are: the middle of one that the
// cache has begun is the cache's. The self-query's mark is exempt.
func (r route) queries(moved nftSet, port uint16, away bool) [][]nftExpr {
	udp := slices.Concat(matchAddr(r.addr, false), matchProto("udp"), matchPort(port, false))
	tcp := slices.Concat(matchAddr(r.addr, false), matchProto("tcp"), matchPort(port, false))
	rewrite := slices.Concat(setZone(r.zone), setAddr(r.target, false))
	gone := matchLocal(unix.NFT_CMP_NEQ)
	rules := [][]nftExpr{
		slices.Concat(tcp, moved.matchKnown(), moved.remember(), rewrite),
		slices.Concat(tcp, gone, moved.remember(), rewrite),
	}
	if !away {
		return append(rules, slices.Concat(udp, gone, rewrite))
	}
	return append(rules,
		slices.Concat(tcp, matchTCPFlags(tcpFIN|tcpSYN|tcpRST|tcpACK, tcpSYN), moved.remember(), rewrite),
		slices.Concat(udp, matchMark(unix.NFT_CMP_NEQ, SelfQueryMark), rewrite))
}

// answers rewrites what comes back.
func (r route) answers(proto string, port uint16) []nftExpr {
	return slices.Concat(matchReplyInZone(r.zone), matchAddr(r.target, true), matchProto(proto), matchPort(port, true), setAddr(r.addr, true))
}

// hold keeps TCP connections with the cache that began with it, whether steering
// is on, settling or off: they stay untracked. Without, the middle of one would
// be new to connection tracking; and what is new and goes to a ClusterIP without
// having been mapped, kube-proxy in nftables mode rejects on its way out.
//
// A client that begins anew while the cache is away is forgotten: with the port
// of an earlier connection, the rest of the new one would go to the cache.
func (f *Fallback) hold(a netip.Addr, held nftSet, away bool) [][]nftExpr {
	tcp := slices.Concat(matchAddr(a, false), matchProto("tcp"), matchPort(f.port, false))
	syn := slices.Concat(tcp, matchTCPFlags(tcpFIN|tcpSYN|tcpRST|tcpACK, tcpSYN))
	local, keep := matchLocal(unix.NFT_CMP_EQ), append(held.remember(), exprNotrack())
	rules := [][]nftExpr{slices.Concat(tcp, matchTCPFlags(tcpSYN, 0), local, held.matchKnown(), keep)}
	forgotten := syn
	if !away {
		rules = append(rules, slices.Concat(syn, local, keep))
		forgotten = slices.Concat(syn, matchLocal(unix.NFT_CMP_NEQ))
	}
	if f.keep {
		return rules
	}
	return append(rules, slices.Concat(forgotten, held.forget()))
}

// pin is for connections that are not held, as that set has an end. It maps to
// the cache's own address the middle of a TCP connection that connection
// tracking sees for the first time: it began untracked. Without, it would be
// taken for a new one and sent to the cluster DNS.
func pin(a netip.Addr, port uint16) []nftExpr {
	return slices.Concat(matchAddr(a, false), matchProto("tcp"), matchPort(port, false),
		matchTCPFlags(tcpSYN, 0), matchLocal(unix.NFT_CMP_EQ), destinationNAT(a))
}

// masquerade is for what the host asks with a as its source. The cache's own
// answers are never masqueraded, tracked or not.
func masquerade(a netip.Addr, proto string, port uint16) []nftExpr {
	return slices.Concat(matchAddr(a, true), matchProto(proto), matchNotPort(port), matchNotLoopback(), []nftExpr{{name: "masq"}})
}

// Intact reports whether the table is as Set left it.
func (f *Fallback) Intact() (bool, error) { return f.watch.intact() }
