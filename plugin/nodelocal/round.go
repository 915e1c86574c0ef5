// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A history is what earlier rounds have found. Its methods get what the supervisor saw, and return what to do. The methods use no
// clock and change nothing of the node. Lines and counts wait in the report until the supervisor tells them.
type history struct {
	report
	s      settings
	health map[netip.Addr]*health
	heard  bool      // this process has answered a self-query
	begun  time.Time // when the addresses began to wait for their first answer
	resync time.Time // of the last thorough look
	bare   bool      // rules that steer are missing, as far as the last look and the last change know
	shared bool      // another instance was seen, and no look since has found this one alone
	notes  notes     // for the command status
}

func newHistory(turnHolder func() string) *history {
	return &history{report: report{said: map[string]string{}, turnHolder: turnHolder}}
}

// configure begins to work for s. What is known of an address that is steered stays known.
func (h *history) configure(s settings, status hostnet.Status, now time.Time) {
	old, ruled := h.health, ruled(status)
	h.s, h.health, h.begun, h.resync = s, map[netip.Addr]*health{}, now, now
	h.notes.leaving = ""
	for _, a := range s.Addresses {
		h.health[a] = &health{}
		if known := old[a]; known != nil && slices.Contains(ruled, a) {
			h.health[a] = known
		}
	}
}

// A decision is which addresses to steer, and, for the metric and the log, why the others are not steered any more.
type decision struct {
	steered     []netip.Addr
	changes     bool // something: otherwise the node is so already
	why, reason string
}

// slept finds out whether the lease has run out because this process got no CPU. Then old queries fill the sockets. The rules go
// first, and come back when a self-query is answered: the self-query is read after the old queries.
func (h *history) slept(status hostnet.Status, now time.Time) (d decision, slept bool) {
	asleep := now.Sub(status.Renewed)
	if h.s.Lease == 0 || status.Renewed.IsZero() || asleep < h.s.Lease {
		return d, false
	}
	for _, a := range h.health {
		*a = health{}
	}
	h.begun = now
	return h.aim(status, "lease", fmt.Sprintf("the lease ran out, this process did not run for %s", asleep.Round(time.Millisecond))), true
}

// renewed counts and logs what the renewal of the lease had to put back.
func (h *history) renewed(repaired bool, err error, event hostnet.Event, status hostnet.Status) {
	h.trouble("lease", err)
	h.set("link_present", err == nil)
	switch {
	case err != nil:
		h.count("lease_failures")
		h.count("setup_errors", "interface_check")
	case repaired:
		h.count("repairs", string(hostnet.LinkGone))
		h.say("warning", fmt.Sprintf("Link put back: something removed it (%s)", status.Network))
	case event.Gone == hostnet.AddressGone && len(status.Addresses.In(hostnet.Forsaken)) == 0:
		h.count("repairs", string(hostnet.AddressGone))
		h.say("warning", fmt.Sprintf("Address put back: %s had been removed, or not been renewed in time (%s)", event.Address, status.Network))
	}
}

// decide moves each address's health on by the verdict on it, and returns what to steer. While the servers are still to listen,
// the metric does not count a failed self-query.
func (h *history) decide(verdicts []verdict, status hostnet.Status, now time.Time) decision {
	for i, v := range verdicts {
		a := h.s.Addresses[i]
		h.heard = h.heard || v == answered
		if v != failed || h.complete(status) || now.Sub(h.begun) > startPatience {
			h.count("self_queries", a.String(), verdictNames[v])
		}
		h.health[a].note(v)
	}
	d := h.aim(status, "self_query", fmt.Sprintf("no answer to %d self-queries in a row", failuresOff))
	if !d.changes && len(d.steered) < len(h.s.Addresses) && now.Sub(h.begun) > startPatience {
		steered := func(a netip.Addr) bool { return slices.Contains(d.steered, a) }
		off := addrList(slices.DeleteFunc(slices.Clone(h.s.Addresses), steered))
		h.sayOnce("waiting", off, "error", "Steering stays off: the cache does not answer at "+off)
	}
	return d
}

// aim decides to steer the addresses that are alive. If only another instance answers at some address, aim adds no
// address. The rules are shared: to set them for this instance's addresses would end the steering of the other's. Why and reason
// are those for addresses that are not steered any more.
func (h *history) aim(status hostnet.Status, reason, why string) decision {
	have, stuck := steered(status), len(status.Addresses.In(hostnet.Forsaken)) > 0
	d := decision{changes: stuck, reason: reason, why: why}
	joining, off := false, false
	for _, a := range h.s.Addresses {
		it, is := h.health[a], slices.Contains(have, a)
		on := it.state == alive
		if on {
			d.steered = append(d.steered, a)
		}
		joining = joining || !on && it.last == foreign
		off = off || is && !on
		d.changes = d.changes || is != on
	}
	if joining && !off && !stuck {
		d.steered, d.changes = have, false
	}
	return d
}

// applied counts and logs what became of a decision, and reports whether it is in effect.
func (h *history) applied(d decision, change hostnet.Change, err error, status hostnet.Status) bool {
	h.troubleWithRules(err)
	h.notes.applied(d, change, err)
	if len(change.Forsaken) > 0 {
		h.count("withdrawals", d.reason)
		h.say("warning", fmt.Sprintf("Steering off: %s: %s; the rules cannot be changed, so the address goes; the cluster DNS answers now", addrList(change.Forsaken), d.why))
	}
	if !d.changes {
		return err == nil
	}
	if err != nil {
		h.set("rules_present", false)
		return false
	}
	h.bare = false
	delete(h.said, "waiting")
	if len(change.Off) > 0 {
		h.count("withdrawals", d.reason)
		h.say("warning", fmt.Sprintf("Steering off: %s: %s; the cluster DNS answers now", addrList(change.Off), d.why))
	}
	off := slices.DeleteFunc(slices.Clone(h.s.Addresses), func(a netip.Addr) bool { return slices.Contains(d.steered, a) })
	switch {
	case len(d.steered) == 0:
	case len(off) == 0:
		h.say("info", fmt.Sprintf("Steering on: %s (%s)", addrList(d.steered), status.Network))
	default:
		h.say("info", fmt.Sprintf("Steering: %s on, %s off (%s)", addrList(d.steered), addrList(off), status.Network))
	}
	return true
}

// thorough reports whether the next look is to start processes, too.
func (h *history) thorough(now time.Time) bool { return now.Sub(h.resync) >= h.s.Resync }

// checked counts and logs what a look found and put back, and reports whether all is right. hostnet skips looks while other
// instances are alive: their rules are for the same end, and two that correct each other would never come to rest.
func (h *history) checked(f hostnet.Findings, err error, thorough bool, status hostnet.Status, now time.Time) bool {
	h.notes.looked(f, err, now)
	if f.Peers != "" && !h.shared {
		h.shared = true
		h.say("info", "Another instance runs on this node: "+f.Peers)
	}
	if f.Skipped {
		return true
	}
	if thorough && (err == nil || len(f.Broken) > 0) {
		h.resync = now
	}
	if err == nil && len(f.Broken) > 0 {
		h.repaired(f, status)
	}
	h.shared = h.shared && (err != nil || f.Peers != "")
	h.bare = f.Bare
	h.set("rules_present", err == nil)
	h.troubleWithRules(err)
	return err == nil
}

// repaired tells of rules that were put back. One instance changes those of the other when it starts or leaves, and that is
// nobody's fault.
func (h *history) repaired(f hostnet.Findings, status hostnet.Status) {
	var what []string
	for _, object := range f.Broken {
		if what = append(what, hostnet.NameOf(object, status.Firewall)); !h.shared {
			h.count("repairs", object)
		}
	}
	if h.shared {
		h.say("info", fmt.Sprintf("Put back what another instance changed: %s (%s)", strings.Join(what, ", "), status.Network))
		return
	}
	h.say("warning", fmt.Sprintf("Put back what %s removed or changed: %s (%s)", cmp.Or(f.By, "something"), strings.Join(what, ", "), status.Network))
}

// conclude tells what the end of a round shows, and returns the time from the beginning of that round to the next.
func (h *history) conclude(status hostnet.Status, now time.Time) time.Duration {
	h.turnAwaited(status.TurnAwaited, now)
	h.uplinks(status.Uplinks)
	if !h.complete(status) && now.Sub(h.begun) < startPatience {
		return startInterval
	}
	for _, a := range h.health {
		if a.state == alive && a.failures > 0 { // it failed to answer lately
			return interval / 2
		}
	}
	return interval
}

// complete reports whether every address is steered.
func (h *history) complete(status hostnet.Status) bool {
	return len(steered(status)) == len(h.s.Addresses)
}

// steered returns the addresses whose queries come to this cache, if the rules are right.
func steered(status hostnet.Status) []netip.Addr {
	return status.Addresses.In(hostnet.Settling, hostnet.Steered)
}

// ruled returns the addresses that there are rules for.
func ruled(status hostnet.Status) []netip.Addr {
	return status.Addresses.In(hostnet.Settling, hostnet.Steered, hostnet.Forsaken)
}
