// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// Servers says whose servers run while Apply works.
type Servers uint8

// The phases of a reload, and the time between reloads.
const (
	// OwnServers are those of Want.Config. Addresses that it lacks leave the link.
	OwnServers Servers = iota
	// ServersStarting are about to listen at the addresses of Want.Config, and the last configuration's servers still run. So
	// addresses of either are on the link. Apply does not begin to steer.
	ServersStarting
	// BothServers run, those of Want.Config and those of the last configuration.
	BothServers
)

// A Want is what Apply makes of the node.
type Want struct {
	Config  Config
	Steered []netip.Addr // of Config.Addresses; while servers start Apply does not look at it
	Servers Servers
}

// trust is what the book is worth.
type trust uint8

const (
	sure     trust = iota // rules, fallback table and link are as the book says
	bare                  // rules that steer were seen to be missing, and could not be put back
	doubted               // a change of the steering failed: rules and fallback table are to be set again
	reverted              // a change of the configuration failed: everything is to be set again, when the next servers start at the latest
	halfway               // a change of link or firewall failed: the next servers that start need both anew
)

// have is what plan starts from.
type have struct {
	book
	trust   trust
	settles bool // a fallback table holds the connections with the cache while an address is settling
}

// A verb is a kind of step.
type verb uint8

const (
	setRules  verb = iota
	dropRules      // rules that cannot be read stay: the next steps remove them
	setFallback
	yieldSource     // the host's own queries to the addresses get another source address
	drainQueues     // the servers read what has arrived
	replaceFirewall // a new backend, and the rules of the old one go
	renewFallback   // the fallback table is that of another configuration
	replaceLink
	watchLink
	setLink
)

// A step is one thing to do, and the book that it makes true.
type step struct {
	verb verb
	to   book
}

// A change is how the configuration that is wanted differs from the one there is.
type change struct {
	any, link, firewall bool
	// stops says that steering is off until servers have answered again, because link, firewall or port change.
	stops bool
}

func (h have) change(w Want) (c change) {
	starting, old, cfg := w.Servers == ServersStarting, h.cfg, w.Config
	anew := starting && h.trust == halfway
	c.any = starting && h.trust >= reverted || !old.Equal(cfg)
	c.link = anew || old.Link != cfg.Link || old.Interface != cfg.Interface
	c.firewall = anew || old.Firewall != cfg.Firewall || !slices.Equal(family.Among(old.Addresses), family.Among(cfg.Addresses))
	c.stops = c.link || c.firewall || old.Port != cfg.Port
	return c
}

// plan returns the steps from what there is to what is wanted; none if nothing is to be done.
func plan(h have, w Want, now time.Time) (steps []step) {
	c, from, to := h.change(w), h.book, h.target(w, now)
	add := func(when bool, more ...step) {
		if when {
			steps = append(steps, more...)
		}
	}
	if c.stops {
		from = from.after(now, withdrawn, all)
		steps = steer(h.book, from, map[bool]verb{true: dropRules, false: setRules}[c.firewall])
		add(c.link, step{yieldSource, from})
		add(true, step{drainQueues, from})
	}
	add(c.firewall, step{replaceFirewall, to})
	again := h.trust == doubted || h.trust == reverted
	switch {
	case c.any:
		add(true, step{renewFallback, to})
		add(true, steer(from, to, setRules)...)
	case w.Servers == ServersStarting: // rules that cannot be changed are no reason to refuse the configuration
	case again || !slices.Equal(from.away(), to.away()):
		add(true, steer(from, to, setRules)...)
	default:
		add(!slices.Equal(from.addrs.In(Settling), to.addrs.In(Settling)), step{setRules, to})
	}
	add(c.link, step{replaceLink, to})
	add(c.any, step{watchLink, to})
	add(c.any || !slices.Equal(from.carried(), to.carried()), step{setLink, to})
	return steps
}

// steer changes rules and fallback table in the order that loses nothing. Before rules steer to an address, the table gives the
// address back. After rules have let go of an address, the table takes the address over.
//
// The target of the table may be an address of the cache itself, the ClusterIP of kube-dns. A packet that the table has rewritten
// has a conntrack zone, and NOTRACK skips packets with a zone (nft_notrack_eval, xt_CT). So kube-proxy maps it.
func steer(from, to book, rules verb) []step {
	steps := []step{{setFallback, to}, {rules, to}}
	if len(to.steered()) < len(from.steered()) {
		slices.Reverse(steps)
	}
	return steps
}

// target returns the book that is wanted.
func (h have) target(w Want, now time.Time) book {
	to := book{cfg: w.Config}
	off, starting := h.change(w).stops, w.Servers == ServersStarting
	// The time of settling is over for all addresses at once: the rules change once.
	settled := !slices.ContainsFunc(h.addrs, func(a Address) bool { return a.State == Settling && now.Sub(a.Since) < settleTime })
	for _, ip := range w.Config.Addresses {
		a := h.find(ip).after(now, named)
		switch {
		case off, !starting && !slices.Contains(w.Steered, ip):
			a = a.after(now, withdrawn)
		case starting && a.State != Forsaken: // the steering stays
		case !h.settles, settled && a.State == Settling:
			a = a.after(now, whole)
		default:
			a = a.after(now, begun)
		}
		to.addrs = append(to.addrs, a)
	}
	for _, a := range h.addrs {
		if slices.Contains(w.Config.Addresses, a.IP) {
			continue
		}
		a = a.after(now, dropped)
		if w.Servers == OwnServers {
			a = a.after(now, ended)
		}
		if a.State != Absent {
			to.addrs = append(to.addrs, a)
		}
	}
	return to
}

// planLeave returns the steps that take steering off for good. If this instance is alone, the host gets another source address
// first. On a link that outlives the process this comes after the rules: if the process died in between, the changed route would
// stay.
func planLeave(h have, alone, outlives bool, now time.Time) []step {
	to := h.book.after(now, withdrawn, all)
	rules, yield := steer(h.book, to, setRules), []step{{yieldSource, to}}
	switch {
	case !alone:
		return rules
	case outlives:
		return append(rules, yield...)
	}
	return append(yield, rules...)
}

// revert returns the book of the configuration of b after steps to another one have failed: b's addresses, with the
// steering that the steps have left.
func (b book) revert(reached book, now time.Time) book {
	return b.after(now, withdrawn, func(a Address) bool {
		return slices.Contains(b.cfg.Addresses, a.IP) && reached.find(a.IP).State != a.State
	})
}
