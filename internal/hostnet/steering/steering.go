// SPDX-License-Identifier: Apache-2.0

// Package steering says which firewall rules steer DNS to the cache, as values, and how iptables-restore takes them.
package steering

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// SelfQueryMark is the socket mark (SO_MARK) of the cache's queries to itself. Packets that carry it reach the cache
// whatever the state of steering and fallback. The value has no bit in the masks of kube-proxy (0xc000) and Cilium
// (0x0f00).
const SelfQueryMark = 0x2053

// Comments of the rules. The first two are the reference's: people search for them.
const (
	CommentSkip   = "NodeLocal DNS Cache: skip conntrack"
	CommentAllow  = "NodeLocal DNS Cache: allow DNS traffic"
	CommentUplink = "NodeLocal DNS Cache: not from the uplink"
)

// Wanted is what the firewall is to do.
type Wanted struct {
	Addresses  []netip.Addr // all addresses of the cache
	Steered    []netip.Addr // those of them that DNS is steered to
	Settling   []netip.Addr // those of them where only new TCP connections are steered
	Uplinks    []string     // interfaces at which the host's own firewall alone decides
	Port       uint16
	HealthPort uint16 // at the first of Addresses; 0: none
}

// A Hook is one of the four places that rules stand in.
type Hook struct {
	Table   string // of iptables: raw or filter
	Builtin string // the chain that the kernel calls
	Chain   string // ours, to which that one jumps; two have the same name, in different tables
}

// The four.
var (
	RawPre    = Hook{"raw", "PREROUTING", ChainPrefix + "PRE"}
	RawOut    = Hook{"raw", "OUTPUT", ChainPrefix + "OUT"}
	FilterIn  = Hook{"filter", "INPUT", ChainPrefix + "IN"}
	FilterOut = Hook{"filter", "OUTPUT", ChainPrefix + "OUT"}
	Hooks     = []Hook{RawPre, RawOut, FilterIn, FilterOut}
)

// ChainPrefix begins the name of every iptables chain of ours and of no other.
const ChainPrefix = "NODELOCALDNS-"

// A Rule is one line of the firewall: DNS or health traffic of one protocol to (or, if Source is set, from) one
// address of the cache.
type Rule struct {
	Hook   Hook
	Proto  string // "udp" or "tcp"
	Source bool
	Addr   netip.Addr
	Port   uint16
	Local  bool   // only while Addr is an address of this host
	SYN    bool   // only the first packet of a TCP connection
	Mark   uint32 // only packets with this mark; 0: any
	Uplink string // if set, the rule ends the chain for what comes in by this interface, and has no other field but Hook
}

// Rules returns the rules of s for one address family.
//
// Every rule on the destination but the self-query's holds only while the address is Local: when the address goes
// with the process, the rule is inert. A rule on the source has no such guard: an answer that leaves tracked would
// make conntrack take the client's next packets for its replies.
//
// What comes in by an uplink is steered like everything else, but only the host's own firewall accepts it.
func (s Wanted) Rules(f family.Family) []Rule {
	var out []Rule
	for _, name := range s.Uplinks {
		out = append(out, Rule{Hook: FilterIn, Uplink: name})
	}
	for i, a := range s.Addresses {
		if family.Of(a) != f {
			continue
		}
		out = append(out, Rule{Hook: RawOut, Proto: "udp", Addr: a, Port: s.Port, Mark: SelfQueryMark})
		for _, p := range []string{"udp", "tcp"} {
			if slices.Contains(s.Steered, a) {
				syn := p == "tcp" && slices.Contains(s.Settling, a)
				out = append(out,
					Rule{Hook: RawPre, Proto: p, Addr: a, Port: s.Port, Local: true, SYN: syn},
					Rule{Hook: RawOut, Proto: p, Addr: a, Port: s.Port, Local: true, SYN: syn})
			}
			out = append(out, s.standing(p, a, s.Port)...)
		}
		if s.HealthPort != 0 && i == 0 {
			out = append(out, Rule{Hook: RawOut, Proto: "tcp", Addr: a, Port: s.HealthPort, Local: true})
			out = append(out, s.standing("tcp", a, s.HealthPort)...)
		}
	}
	return out
}

// standing returns the rules that stay while steering is off: answers leave untracked, and a host firewall that lets
// only tracked traffic pass accepts.
func (s Wanted) standing(proto string, a netip.Addr, port uint16) []Rule {
	return []Rule{
		{Hook: RawOut, Proto: proto, Source: true, Addr: a, Port: port},
		{Hook: FilterIn, Proto: proto, Addr: a, Port: port},
		{Hook: FilterOut, Proto: proto, Source: true, Addr: a, Port: port},
	}
}

// IPTables prints r as iptables-restore takes it.
func (r Rule) IPTables() string {
	if r.Uplink != "" {
		return fmt.Sprintf("-A %s -i %s -m comment --comment %q -j RETURN", r.Hook.Chain, r.Uplink, CommentUplink)
	}
	var b strings.Builder
	flag, port := "-d", "--dport"
	if r.Source {
		flag, port = "-s", "--sport"
	}
	fmt.Fprintf(&b, "-A %s %s %s -p %s -m %s %s %d", r.Hook.Chain, flag, netip.PrefixFrom(r.Addr, r.Addr.BitLen()), r.Proto, r.Proto, port, r.Port)
	if r.SYN {
		b.WriteString(" --tcp-flags FIN,SYN,RST,ACK SYN")
	}
	if r.Mark != 0 {
		fmt.Fprintf(&b, " -m mark --mark %#x", r.Mark)
	}
	if r.Local {
		b.WriteString(" -m addrtype --dst-type LOCAL")
	}
	if r.Hook.Table == "filter" {
		fmt.Fprintf(&b, " -m comment --comment %q -j ACCEPT", CommentAllow)
	} else {
		fmt.Fprintf(&b, " -m comment --comment %q -j NOTRACK", CommentSkip)
	}
	return b.String()
}
