// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// results are all that was measured, and on which machine.
type results struct {
	Machine usage.Machine `json:"machine"`
	Seconds int           `json:"seconds"`
	Figures []figure      `json:"figures"`
}

// of finds the figure of a measurement with an arrangement; ok is false if there is none.
func (r *results) of(m measurement, arrangement string) (f figure, ok bool) {
	for _, f := range r.Figures {
		if f.Set == m.name && f.MaxRate == m.rate && f.Arrangement == arrangement {
			return f, true
		}
	}
	return figure{}, false
}

// tables is the text of results.md.
func (r *results) tables() string {
	of := func(paced bool) (some []measurement) {
		for _, m := range measurements {
			if (m.rate > 0) == paced {
				some = append(some, m)
			}
		}
		return some
	}
	return fmt.Sprintf("%s. A measurement took %d s, that of the 12 Services %d s. %s\n\n", r.Machine, r.Seconds, 4*r.Seconds, r.lost()) +
		"As many queries as possible, 100 in flight: answers a second, and the mean latency.\n\n" +
		r.table(of(false), "", func(f figure) string { return fmt.Sprintf("%.0f, %.0f µs", f.Rate, f.Mean) }) +
		"\nAt a given rate: mean, p50 and p99 of the latency, in µs.\n\n" +
		r.table(of(true), "", func(f figure) string { return fmt.Sprintf("%.0f, %.0f, %.0f", f.Mean, f.P50, f.P99) }) +
		"\nQuestions that the cluster DNS was asked in all, and the shares of a core that the cluster DNS and the cache took.\n\n" +
		r.table(measurements, "asked: ", func(f figure) string {
			text := fmt.Sprintf("%.0f, %.1f %%", f.Asked, 100*f.ClusterDNS)
			if f.Cache > 0 {
				text += fmt.Sprintf(", %.1f %%", 100*f.Cache)
			}
			return text
		})
}

// table has a row for each measurement, and a column for each arrangement.
func (r *results) table(rows []measurement, what string, cell func(figure) string) string {
	b := &strings.Builder{}
	b.WriteString("| queries | a second |")
	for _, k := range kinds {
		fmt.Fprintf(b, " %s%s |", what, k.title)
	}
	fmt.Fprintf(b, "\n|---|---|%s\n", strings.Repeat("---|", len(kinds)))
	for _, m := range rows {
		rate := "as many as possible"
		if m.rate > 0 {
			rate = fmt.Sprint(m.rate)
		}
		fmt.Fprintf(b, "| %s | %s |", m.name, rate)
		for _, k := range kinds {
			text := ""
			if f, ok := r.of(m, k.name); ok {
				text = cell(f) + " "
			}
			fmt.Fprintf(b, " %s|", text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// lost says which queries had no useful answer, or none from the server that was measured: a cache that the machine keeps from running
// is withdrawn, and the cluster DNS answers.
func (r *results) lost() string {
	sent, some := 0, []string{}
	for _, f := range r.Figures {
		sent += f.Sent
		if f.Lost+f.Failed+f.Bypassed > 0 {
			i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == f.Arrangement })
			some = append(some, fmt.Sprintf("%s, %s: %d lost, %d failed, at least %d answered by the cluster DNS",
				measurement{set: set{name: f.Set}, rate: f.MaxRate}, kinds[i].title, f.Lost, f.Failed, f.Bypassed))
		}
	}
	text := fmt.Sprintf("Of %d queries ", sent)
	if len(some) == 0 {
		return text + "all were answered, each NOERROR or NXDOMAIN, and by the server that was measured."
	}
	return text + "not all were answered well: " + strings.Join(some, "; ") + "."
}
