// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"strings"
)

// Tables are the results as Markdown.
func (r *Results) Tables() string { return r.summary() + r.kindTable() + "\n" + r.processTable() }

func (r *Results) summary() string {
	_, idle := r.tally()
	share, most := r.waiting(0, r.Seconds)
	late := fmt.Sprintf("Tasks of the machine waited for a CPU %.0f %% of the time, and up to %.0f %% in 5 s; a client was %.1f s late with a query at most.",
		100*share, 100*most, r.Stall)
	return fmt.Sprintf("%s, seed %d, %d CPUs: %s queries in %.0f minutes, %.0f a second, and %d events. Lost while nothing happened: **%s**. %s\n\n",
		r.Date, r.Seed, r.CPUs, thousands(r.queries()), r.Seconds/60, float64(r.queries())/max(1, r.Seconds), len(r.Events),
		thousands(len(idle)), late)
}

// kindTable says what each kind of event has cost.
func (r *Results) kindTable() string {
	b := &strings.Builder{}
	b.WriteString("| event | times | may cost | lost: known names | new names | over TCP | of these answered, as with SERVFAIL | last loss after |\n" +
		"|---|---|---|---|---|---|---|---|\n")
	tallies, _ := r.tally()
	for _, t := range tallies {
		if t.Times == 0 {
			continue
		}
		fmt.Fprintf(b, "| %s | %d | %s |", t.Name, t.Times, t.cost())
		for _, c := range Classes {
			fmt.Fprintf(b, " %s%s |", thousands(t.Tolerated[c]+t.Beyond[c]), t.beyond(c))
		}
		latest := ""
		if sum(t.Tolerated)+sum(t.Beyond) > 0 {
			latest = fmt.Sprintf("%.1f s", t.Latest)
		}
		fmt.Fprintf(b, " %s | %s |\n", thousands(t.Answered), latest)
	}
	return b.String()
}

// beyond says how many of the lost queries of the class were not tolerated; empty: none.
func (t *Tally) beyond(c Class) string {
	if t.Beyond[c] == 0 {
		return ""
	}
	return fmt.Sprintf(", **%s too many**", thousands(t.Beyond[c]))
}

// cost says what a kind of event may cost.
func (k Kind) cost() string {
	var parts []string
	for _, c := range Classes {
		switch gap := k.Gap[c]; {
		case k.Outage && c == New:
			parts = append(parts, fmt.Sprintf("new names until %.0f s after its end", gap))
		case gap > 0:
			parts = append(parts, fmt.Sprintf("%s for %.0f s", c, gap))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// processTable says what each process had, at the first and the last moment at which nothing happened, and at most.
func (r *Results) processTable() string {
	b := &strings.Builder{}
	b.WriteString("| process | minutes | ended by | MB: first | after 10 minutes | most | last | goroutines: first | most | last " +
		"| descriptors: first | most | last | of a CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, l := range r.lives() {
		ended := l.Ended
		if ended == "" {
			ended = "the end of the soak"
		}
		fmt.Fprintf(b, "| %d | %.1f | %s | %s | %s | %s | %s | %s | %d | %s | %s | %d | %s | %.2f |\n", i+1, (l.End-l.Begin)/60, ended,
			megabytes(l.first), megabytes(l.tenMinutes), megabytes(l.most), megabytes(l.last),
			some(l.first.Goroutines), l.most.Goroutines, some(l.last.Goroutines), some(l.first.Files), l.most.Files, some(l.last.Files), l.cpu)
	}
	return b.String()
}

// megabytes is the memory of a sample; empty if there is none.
func megabytes(s Sample) string { return some(int(s.RSS+1<<19) >> 20) }

// some is a number, or empty for 0.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// thousands writes a number as in 1,234,567.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
