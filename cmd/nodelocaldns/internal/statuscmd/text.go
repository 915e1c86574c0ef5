// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// shown is how many of the busiest clients and names are printed.
const shown = 10

// text returns what a person reads: the verdict in the first line, then each cache. seen is what the kernel says; nil: it was
// not asked. dir is where the sockets are.
func text(all []instance, seen *kernel, dir string) string {
	var b strings.Builder
	b.WriteString(verdict(all, seen, dir) + "\n")
	for _, it := range all {
		if it.Unanswered == "" {
			b.WriteByte('\n')
			write(&b, it, len(all) > 1)
		}
	}
	if seen != nil {
		fmt.Fprintf(&b, "\nThe kernel says:\n")
		for _, line := range seen.lines() {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return b.String()
}

// verdict is the first line, and one line for each further fault.
func verdict(all []instance, seen *kernel, dir string) string {
	switch {
	case len(all) == 0 && len(seen.instances) > 0:
		return fmt.Sprintf("Not known: a cache runs that has no socket in %s, its state directory (-statedir)", dir)
	case len(all) == 0:
		return fmt.Sprintf("No cache runs on this node, and %s has no socket of one (-statedir)", dir)
	}
	var faults, well []string
	for _, it := range all {
		faults = append(faults, it.Faults...)
		if news := goodNews(it.Report); !slices.Contains(well, news) {
			well = append(well, news)
		}
	}
	switch {
	case len(faults) == 0 && len(all) > 1:
		return fmt.Sprintf("All well: %s (%d instances)", strings.Join(well, "; "), len(all))
	case len(faults) == 0:
		return "All well: " + well[0]
	}
	return "Degraded: " + strings.Join(faults, "\nand:      ")
}

// goodNews says what a cache without a fault does.
func goodNews(r status.Report) string {
	var ips []string
	switch n := r.Node; {
	case n == nil:
		return "the cache serves; its configuration has no nodelocal, and steers nothing"
	case !n.Owned:
		return "the cache serves; its configuration asks for neither link nor rules"
	case n.Leaving:
		return "an instance is leaving"
	default:
		for _, a := range n.Addresses {
			ips = append(ips, a.Address.String())
		}
	}
	return are(ips) + " steered to the cache"
}

// write prints the sections of one cache. Many says that there are others.
func write(b *strings.Builder, it instance, many bool) {
	t := tabwriter.NewWriter(b, 16, 0, 2, ' ', 0)
	defer t.Flush()
	row := func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }
	now := it.Time
	if many {
		row("Socket\t%s", it.Socket)
	}
	if it.Process != nil {
		processRows(row, now, it.Process)
	}
	if it.Node != nil {
		nodeRows(row, now, it.Node)
	}
	title := "Upstreams"
	for _, u := range it.Upstreams {
		row("%s\t%s for %s: %s", title, u.Address, strings.Join(u.Zones, " "), upstreamSays(now, u))
		title = ""
	}
	title = "Caches"
	for _, c := range it.Caches {
		row("%s\t%s", title, cacheSays(c))
		title = ""
	}
	if it.Busiest != nil {
		busiestRows(row, it.Busiest)
	}
}

type rower func(format string, args ...any)

func processRows(row rower, now time.Time, p *status.Process) {
	row("Process\tnodelocaldns %s (commit %s, CoreDNS %s), pid %d, started %s ago (%s)", p.Version, p.Commit, p.CoreDNS, p.PID, span(now.Sub(p.Started)), p.Started.UTC().Format(time.DateTime+" UTC"))
	switch {
	case p.Hash == "":
		row("Configuration\tnone runs yet")
	case p.StandIn != "":
		row("Configuration\t%s (hash %s), for %s, in place of %s", p.StandIn, p.Hash, span(now.Sub(p.Serving)), p.Source)
	default:
		row("Configuration\t%s (hash %s), for %s", p.Source, p.Hash, span(now.Sub(p.Serving)))
	}
	switch r := p.Reload; {
	case r == nil:
		row("Last reload\tnone since the start")
	case r.Error != "" && p.Fault == "": // the text of before is back, for which nothing has to be loaded
		row("Last reload\tfailed %s ago, and the fault is mended: %s", span(now.Sub(r.Time)), r.Error)
	case r.Error != "":
		row("Last reload\tfailed %s ago: %s", span(now.Sub(r.Time)), r.Error)
	default:
		row("Last reload\tok, %s ago", span(now.Sub(r.Time)))
	}
}

func nodeRows(row rower, now time.Time, n *status.Node) {
	switch {
	case n.Waiting != "":
		row("Node\twaits %s", n.Waiting)
		return
	case !n.Owned:
		row("Node\tthe configuration asks for neither link nor rules: queries come by another way")
		return
	}
	title := "Addresses"
	for _, a := range n.Addresses {
		row("%s\t%s %s for %s: %s%s", title, a.Address, steered(a.Steered), span(now.Sub(a.Since)), a.Why, leaseOf(a, n.Lease))
		title = ""
	}
	row("Link, firewall\t%s", n.Network)
	row("Rules\t%s", rulesSay(now, n.Rules))
	row("Fallback\t%s", fallbackSays(n))
	if !n.Looked.IsZero() {
		row("Last look\t%s ago", span(now.Sub(n.Looked)))
	}
	if n.Peers != "" {
		row("Others\tanother instance runs on this node: %s", n.Peers)
	}
	if !n.Awaited.IsZero() {
		row("Turn\tanother instance has had the right to change rules for %s: %s", span(now.Sub(n.Awaited)), n.Turn)
	}
}

func steered(on bool) string {
	if on {
		return "steered"
	}
	return "not steered"
}

func leaseOf(a status.NodeAddress, lease float64) string {
	switch {
	case lease == 0:
		return " (no lease)"
	case a.Left == nil:
		return ""
	}
	return fmt.Sprintf(" (lease: %s of %s left)", span(seconds(*a.Left)), span(seconds(lease)))
}

func rulesSay(now time.Time, r status.Rules) string {
	var s string
	switch {
	case r.Error != "":
		s = r.Error
	case r.Looked.IsZero() && r.Skipped:
		s = "not looked at while another instance runs"
	case r.Looked.IsZero():
		s = "not looked at yet"
	default:
		s = fmt.Sprintf("as they should be, %s ago", span(now.Sub(r.Looked)))
	}
	if r.Repaired != "" {
		s += fmt.Sprintf("; put back %s ago: %s", span(now.Sub(r.At)), r.Repaired)
	}
	return s
}

func fallbackSays(n *status.Node) string {
	var ips []string
	for _, a := range n.Fallback {
		ips = append(ips, a.String())
	}
	if len(ips) == 0 {
		return "none: no table answers while no cache does"
	}
	return fmt.Sprintf("the cluster DNS answers at %s while no cache does", list(ips))
}

func upstreamSays(now time.Time, u status.Upstream) string {
	switch {
	case u.Silent:
		return fmt.Sprintf("silent for %s; %s", span(now.Sub(u.Since)), meanwhile(u))
	case u.Answered.IsZero():
		return "not asked yet, or no answer yet"
	}
	return fmt.Sprintf("answered %s ago", span(now.Sub(u.Answered)))
}
