// SPDX-License-Identifier: Apache-2.0

// Package nodecheck looks at a node for what would keep the cache from serving there. It changes nothing.
package nodecheck

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A Severity says what a finding means for the cache.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the cache cannot serve, or serves less than it was told to
	Warning Severity = "warning" // the cache serves, and something will not be as expected
	Advice  Severity = "advice"  // something costs more than it has to
)

// A Finding is one thing that is not as it should be.
type Finding struct {
	ID       string   `json:"id"` // of the check
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why,omitempty"` // it matters
	Do       string   `json:"do,omitempty"`
}

// Count returns how many of the findings are errors or warnings.
func Count(all []Finding) (n int) {
	for _, f := range all {
		if f.Severity != Advice {
			n++
		}
	}
	return n
}

// JSON writes the findings as a JSON array.
func JSON(w io.Writer, all []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(append([]Finding{}, all...)) // [] without one, not null
}

// Table writes the findings as a table, the severe ones first, with what to do below each.
func Table(w io.Writer, all []Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range []Severity{Error, Warning, Advice} {
		for _, f := range all {
			if f.Severity != s {
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", strings.ToUpper(string(s)), f.ID, f.What)
			for _, more := range []struct{ name, text string }{{"why", f.Why}, {"do", f.Do}} {
				if more.text != "" {
					fmt.Fprintf(t, "\t%s\t%s\n", "  "+more.name, more.text)
				}
			}
		}
	}
	return t.Flush()
}

func compare(a, b Finding) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What)) }
