// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	vitals "github.com/nodelocaldns/nodelocaldns/internal/status"
)

func init() { vitals.Provide("nodelocal", theNode.describe) }

// notes are what the rounds leave for the command status, beside what the network itself knows. The zero value is ready.
type notes struct {
	steering map[netip.Addr]turned
	why      map[netip.Addr]string // why an address was taken out of steering last
	stuck    string                // why the last change failed; empty: it did not
	leaving  string                // why this process leaves; empty: it does not
	rules    vitals.Rules
	peers    string
}

// A turned says since when an address is steered, or is not.
type turned struct {
	on    bool
	since time.Time
}

// applied notes what became of a decision.
func (n *notes) applied(d decision, change hostnet.Change, err error) {
	if n.why == nil {
		n.why = map[netip.Addr]string{}
	}
	for _, a := range slices.Concat(change.Off, change.Forsaken) {
		n.why[a] = d.why
	}
	n.stuck = ""
	if err != nil {
		n.stuck = err.Error()
	}
}

// looked notes what a look at the rules has found.
func (n *notes) looked(f hostnet.Findings, err error, now time.Time) {
	n.peers, n.rules.Skipped = f.Peers, f.Skipped
	if f.Skipped {
		return
	}
	n.rules.Looked, n.rules.Error = now, ""
	if err != nil && !errors.Is(err, hostnet.ErrTurn) { // who keeps the turn is told apart
		n.rules.Error = err.Error()
	} else if err == nil && len(f.Broken) > 0 {
		n.rules.Repaired, n.rules.At = strings.Join(f.Broken, " and "), now
	}
}

// since returns the time from which on is so for an address.
func (n *notes) since(a netip.Addr, on bool, now time.Time) time.Time {
	if n.steering == nil {
		n.steering = map[netip.Addr]turned{}
	}
	if last, ok := n.steering[a]; !ok || last.on != on {
		n.steering[a] = turned{on, now}
	}
	return n.steering[a].since
}

// seen returns what the command status tells of the node until the next round.
func (h *history) seen(status hostnet.Status, now time.Time) *vitals.Node {
	out := &vitals.Node{
		Owned: true, Leaving: h.notes.leaving != "", Network: status.Network, Fallback: slices.Clone(status.Fallback),
		Rules: h.notes.rules, Lease: h.s.Lease.Seconds(), Peers: h.notes.peers, Awaited: status.TurnAwaited,
	}
	if text, lasts := h.said["rules"]; lasts {
		out.Rules.Error = text
	}
	for _, subject := range []string{"lease", "withdraw"} {
		if text, lasts := h.said[subject]; lasts {
			out.Troubles = append(out.Troubles, text)
		}
	}
	on := steered(status)
	for _, a := range status.Addresses {
		it := vitals.NodeAddress{Address: a.IP, State: a.State.String(), Steered: slices.Contains(on, a.IP) && !h.bare}
		it.Since, it.Why = h.notes.since(a.IP, it.Steered, now), h.why(a, it.Steered)
		out.Addresses = append(out.Addresses, it)
	}
	return out
}

// why says why an address is steered, or is not.
func (h *history) why(a hostnet.Address, on bool) string {
	it := h.health[a.IP]
	switch {
	case a.State == hostnet.Parting, it == nil:
		return "the configuration does not name it any more"
	case h.notes.leaving != "":
		return h.notes.leaving
	case a.State == hostnet.Forsaken:
		return fmt.Sprintf("%s; the rules cannot be changed, so the address is off the link", h.notes.why[a.IP])
	case on && it.failures == 1:
		return "no answer to the last self-query"
	case on && it.failures > 0:
		return fmt.Sprintf("no answer to the last %d self-queries", it.failures)
	case on:
		return "it answers its self-queries"
	case h.bare:
		return "rules that steer are missing, and could not be put back"
	case it.state == alive && h.notes.stuck != "":
		return "it answers its self-queries, but the rules could not be changed: " + h.notes.stuck
	case it.state == alive:
		return "it answers its self-queries, and its rules are about to come"
	case it.last == foreign:
		return "only another instance answers there"
	case h.notes.why[a.IP] != "":
		return h.notes.why[a.IP]
	}
	return "the cache has not answered a self-query there yet"
}

// describe fills in the node's part of a report. It takes no lock, since the rounds hold the node's lock while iptables runs. What
// the last round saw it compares with what the kernel says now.
func (n *node) describe(r *vitals.Report) {
	seen := n.seen.Load()
	if seen == nil {
		return
	}
	out := *seen
	if last := lastRound.Load(); last != nil {
		out.Looked = *last
	}
	if !out.Awaited.IsZero() {
		out.Turn = n.host.turnHolder()
	}
	var ips []netip.Addr
	for _, a := range out.Addresses {
		ips = append(ips, a.Address)
	}
	left, steering := n.host.leases(ips), belief.Load()
	out.Addresses = slices.Clone(out.Addresses)
	for i := range out.Addresses {
		a := &out.Addresses[i]
		if d, ok := left[a.Address]; ok && d >= 0 {
			s := d.Seconds()
			a.Left = &s
		}
		if a.Steered && steering != nil && (!steering.leased() || !n.host.isLocal(a.Address)) {
			a.Steered, a.Since, a.Why = false, gone(out, r.Time), "the address is not on this host any more: its lease ran out, or something removed it"
		}
	}
	r.Node = &out
}

// gone estimates when an address went that the last round has left on the link.
func gone(seen vitals.Node, now time.Time) time.Time {
	ends := seen.Looked.Add(time.Duration(seen.Lease * float64(time.Second)))
	if seen.Looked.IsZero() || seen.Lease == 0 || ends.After(now) {
		return now
	}
	return ends
}
