// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// A view is what is shown.
type view struct {
	Seconds float64       `json:"seconds"`
	Queries uint64        `json:"queries"`
	Clients []row         `json:"clients"`
	Names   []status.Name `json:"names"`
}

// A row is a client, with the name of its pod where that is known, or "node NAME", or "this node".
type row struct {
	status.Client
	Pod string `json:"pod,omitempty"`
}

// newView returns the first lines clients and names of b, where own are the addresses of the cache.
func newView(b status.Busiest, own []netip.Addr, known pods, lines int) view {
	v := view{Seconds: b.Seconds, Queries: b.Queries, Clients: []row{}, Names: []status.Name{}}
	slices.SortStableFunc(b.Clients, func(x, y status.Client) int { return cmp.Compare(y.Queries, x.Queries) })
	slices.SortStableFunc(b.Names, func(x, y status.Name) int { return cmp.Compare(y.Queries, x.Queries) })
	for _, c := range b.Clients[:min(lines, len(b.Clients))] {
		pod := known.names[c.Address]
		if slices.Contains(own, c.Address) {
			pod = "this node"
		}
		v.Clients = append(v.Clients, row{c, pod})
	}
	v.Names = append(v.Names, b.Names[:min(lines, len(b.Names))]...)
	return v
}

// json prints v in a line.
func (v view) json(w io.Writer) error { return json.NewEncoder(w).Encode(v) }

// table prints v for people.
func (v view) table(w io.Writer, fault error) error {
	pod := func(name string) string { return "" } // without names there is no column
	if slices.ContainsFunc(v.Clients, func(r row) bool { return r.Pod != "" }) {
		pod = func(name string) string { return cmp.Or(name, "-") + "\t" }
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s queries/s in the last %.1f s\n\n", v.rate(v.Queries), v.Seconds)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "CLIENT\t%sQUERIES/S\tSHARE\tMISSES/S\tNXDOMAIN/S\tA NAME IT ASKS OFTEN\n", pod("POD"))
	for _, r := range v.Clients {
		fmt.Fprintf(t, "%s\t%s%s\t%s\t%s\t%s\t%s\n", r.Address, pod(r.Pod), v.rate(r.Queries), v.share(r.Queries), v.rate(r.Misses), v.rate(r.NXDomain), cmp.Or(r.Name, "-"))
	}
	t.Flush()
	fmt.Fprint(&b, "\n")
	fmt.Fprint(t, "NAME\tQUERIES/S\tSHARE\n")
	for _, n := range v.Names {
		fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, v.rate(n.Queries), v.share(n.Queries))
	}
	t.Flush()
	if fault != nil {
		fmt.Fprintf(&b, "\npods have no names: %v\n", fault)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rate is a number of queries as queries a second.
func (v view) rate(n uint64) string {
	r := float64(n) / max(v.Seconds, 1)
	if r > 0 && r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.0f", r)
}

// share is a number of queries as a part of all.
func (v view) share(n uint64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(v.Queries, 1)))
}
