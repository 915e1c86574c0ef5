// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Steering is the desired state of the firewall.
type Steering struct {
	Addresses  []netip.Addr // all addresses of the cache
	Steered    []netip.Addr // those of them that DNS is steered to
	Settling   []netip.Addr // those of them where only new TCP connections are steered
	Uplinks    []string     // interfaces at which the host's own firewall alone decides
	Port       uint16
	HealthPort uint16 // at the first of Addresses; 0: none
}

// A hook names one of the four places that rules stand in. Two of them share
// the name of their iptables chain; they stand in different tables.
type hook int

const (
	rawPre hook = iota
	rawOut
	filterIn
	filterOut
)

var hooks = []hook{rawPre, rawOut, filterIn, filterOut}

func (h hook) table() string {
	return map[hook]string{rawPre: "raw", rawOut: "raw", filterIn: "filter", filterOut: "filter"}[h]
}

func (h hook) builtin() string {
	return map[hook]string{rawPre: "PREROUTING", rawOut: "OUTPUT", filterIn: "INPUT", filterOut: "OUTPUT"}[h]
}

func (h hook) chain() string {
	return map[hook]string{rawPre: chainPrefix + "PRE", rawOut: chainPrefix + "OUT", filterIn: chainPrefix + "IN", filterOut: chainPrefix + "OUT"}[h]
}

// chainPrefix begins the name of every iptables chain of ours and of no other.
const chainPrefix = "NODELOCALDNS-"

// A rule is one line of the firewall: DNS or health traffic of one protocol to
// (or, if source is set, from) one address of the cache.
type rule struct {
	hook   hook
	proto  string // "udp" or "tcp"
	source bool
	addr   netip.Addr
	port   uint16
	local  bool   // only while addr is an address of this host
	syn    bool   // only the first packet of a TCP connection
	mark   uint32 // only packets with this mark; 0: any
	uplink string // if set, the rule ends the chain for what comes in by this interface, and has no other field but hook
}

// rules returns the rules of s for one address family.
//
// Every rule on the destination but the self-query's holds only while the
// address is local: when the address goes with the process, the rule is inert.
// A rule on the source has no such guard: an answer that leaves tracked would
// make conntrack take the client's next packets for its replies.
//
// What comes in by an uplink is steered like everything else, but only the host's
// own firewall accepts it.
func (s Steering) rules(six bool) []rule {
	var out []rule
	for _, name := range s.Uplinks {
		out = append(out, rule{hook: filterIn, uplink: name})
	}
	for i, a := range s.Addresses {
		if a.Is6() != six {
			continue
		}
		out = append(out, rule{hook: rawOut, proto: "udp", addr: a, port: s.Port, mark: SelfQueryMark})
		for _, p := range []string{"udp", "tcp"} {
			if slices.Contains(s.Steered, a) {
				syn := p == "tcp" && slices.Contains(s.Settling, a)
				out = append(out,
					rule{hook: rawPre, proto: p, addr: a, port: s.Port, local: true, syn: syn},
					rule{hook: rawOut, proto: p, addr: a, port: s.Port, local: true, syn: syn})
			}
			out = append(out, s.standing(p, a, s.Port)...)
		}
		if s.HealthPort != 0 && i == 0 {
			out = append(out, rule{hook: rawOut, proto: "tcp", addr: a, port: s.HealthPort, local: true})
			out = append(out, s.standing("tcp", a, s.HealthPort)...)
		}
	}
	return out
}

// standing returns the rules that stay while steering is off: answers leave
// untracked, and a host firewall that lets only tracked traffic pass accepts.
func (s Steering) standing(proto string, a netip.Addr, port uint16) []rule {
	return []rule{
		{hook: rawOut, proto: proto, source: true, addr: a, port: port},
		{hook: filterIn, proto: proto, addr: a, port: port},
		{hook: filterOut, proto: proto, source: true, addr: a, port: port},
	}
}

// iptables prints r as iptables-restore takes it.
func (r rule) iptables() string {
	if r.uplink != "" {
		return fmt.Sprintf("-A %s -i %s -m comment --comment %q -j RETURN", r.hook.chain(), r.uplink, commentUplink)
	}
	var b strings.Builder
	flag, port := "-d", "--dport"
	if r.source {
		flag, port = "-s", "--sport"
	}
	fmt.Fprintf(&b, "-A %s %s %s -p %s -m %s %s %d", r.hook.chain(), flag, netip.PrefixFrom(r.addr, r.addr.BitLen()), r.proto, r.proto, port, r.port)
	if r.syn {
		b.WriteString(" --tcp-flags FIN,SYN,RST,ACK SYN")
	}
	if r.mark != 0 {
		fmt.Fprintf(&b, " -m mark --mark %#x", r.mark)
	}
	if r.local {
		b.WriteString(" -m addrtype --dst-type LOCAL")
	}
	if r.hook.table() == "filter" {
		fmt.Fprintf(&b, " -m comment --comment %q -j ACCEPT", commentAllow)
	} else {
		fmt.Fprintf(&b, " -m comment --comment %q -j NOTRACK", commentSkip)
	}
	return b.String()
}

// nft prints r, which must be of the raw table, as nft lists it.
func (r rule) nft() string {
	var b strings.Builder
	family, dir, port := "ip", "daddr", "dport"
	if r.addr.Is6() {
		family = "ip6"
	}
	if r.source {
		dir, port = "saddr", "sport"
	}
	fmt.Fprintf(&b, "%s %s %s %s %s %d", family, dir, r.addr, r.proto, port, r.port)
	if r.syn {
		b.WriteString(" tcp flags syn / fin,syn,rst,ack")
	}
	if r.mark != 0 {
		fmt.Fprintf(&b, " meta mark %#08x", r.mark)
	}
	if r.local {
		b.WriteString(" fib daddr type local")
	}
	fmt.Fprintf(&b, " notrack comment %q", commentSkip)
	return b.String()
}
