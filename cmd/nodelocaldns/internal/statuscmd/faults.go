// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

const (
	// oldLook is the age of a look at the node from which on the rounds hang, or wait for iptables. There is one a second.
	oldLook = 5 * time.Second
	// turnPatience is how long another instance may have the right to change rules. An instance that leaves has it for a moment.
	turnPatience = 3 * time.Second
)

// faults returns what is wrong with the cache that says r, worst first.
func faults(r status.Report) []string {
	out := []string{}
	if n := r.Node; n != nil {
		out = append(out, nodeFaults(r.Time, n)...)
	}
	if p, waits := r.Process, r.Node != nil && r.Node.Waiting != ""; p != nil && !waits {
		out = append(out, processFaults(r.Time, p)...)
	}
	for _, u := range r.Upstreams {
		if u.Silent {
			out = append(out, fmt.Sprintf("upstream %s for %s has not answered for %s: %s", u.Address, list(u.Zones), span(r.Time.Sub(u.Since)), meanwhile(u)))
		}
	}
	return out
}

func nodeFaults(now time.Time, n *status.Node) (out []string) {
	add := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(n.Waiting != "", "the cache waits %s", n.Waiting)
	for _, g := range group(n.Addresses) {
		add(!g.Steered, "%s not steered for %s: %s", are(g.ips), span(now.Sub(g.Since)), g.Why)
	}
	age := now.Sub(n.Looked)
	add(!n.Looked.IsZero() && age >= oldLook, "the last look at the node was %s ago: iptables is slow, or the process hangs; nothing is repaired meanwhile", span(age))
	add(n.Rules.Error != "", "rules: %s", n.Rules.Error)
	for _, t := range n.Troubles {
		add(true, "%s", t)
	}
	awaited := now.Sub(n.Awaited)
	add(!n.Awaited.IsZero() && awaited >= turnPatience, "rules could not be changed for %s: another instance on this node is leaving: %s", span(awaited), n.Turn)
	return out
}

func processFaults(now time.Time, p *status.Process) (out []string) {
	switch {
	case p.Fault != "" && p.StandIn != "":
		return []string{fmt.Sprintf("the configuration cannot be used, and %s runs: %s", p.StandIn, p.Fault)}
	case p.Fault != "":
		return []string{fmt.Sprintf("the configuration cannot be used, and the one before runs: %s", p.Fault)}
	case p.Hash == "":
		return []string{fmt.Sprintf("the cache has been starting for %s, and does not serve yet", span(now.Sub(p.Started)))}
	}
	return nil
}

// meanwhile says what clients get while the upstream is silent.
func meanwhile(u status.Upstream) string {
	failure := fmt.Sprintf("SERVFAIL after %s", span(seconds(u.Timeout)))
	if u.Stale == 0 {
		return "clients get " + failure
	}
	return fmt.Sprintf("clients get old answers, up to %s after their end, else %s", span(seconds(u.Stale)), failure)
}

// An addressGroup is addresses of which the same is to be said.
type addressGroup struct {
	status.NodeAddress // of the first
	ips                []string
}

func group(all []status.NodeAddress) (out []addressGroup) {
next:
	for _, a := range all {
		for i, g := range out {
			if g.Steered == a.Steered && g.Why == a.Why && g.Since.Truncate(time.Second).Equal(a.Since.Truncate(time.Second)) {
				out[i].ips = append(g.ips, a.Address.String())
				continue next
			}
		}
		out = append(out, addressGroup{a, []string{a.Address.String()}})
	}
	return out
}

// are returns a subject with its verb.
func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return list(names) + " are"
}

func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// relieve takes the faults from an instance that is leaving while another one steers, as in each update.
func relieve(all []instance) {
	steers := false
	for _, it := range all {
		steers = steers || len(it.Faults) == 0 && it.Node != nil && len(it.Node.Addresses) > 0
	}
	for i := range all {
		if steers && all[i].Node != nil && all[i].Node.Leaving {
			all[i].Faults = []string{}
		}
	}
}
