// SPDX-License-Identifier: Apache-2.0

package busiest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/coredns/caddy"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// most is how many clients, and how many names, a report has.
const most = 100

// Provide makes Process a part of the report of this process, from the start of a configuration to its end.
func Provide(c *caddy.Controller) {
	withdraw := func() {}
	c.OnStartup(func() error {
		withdraw = status.Provide("busiest", func(r *status.Report) { r.Busiest = Process.Report(time.Now()) })
		return nil
	})
	c.OnShutdown(func() error {
		withdraw()
		return nil
	})
}

// Report returns what was asked in the last 5 to 10 s: the busiest clients and names, 100 of each at most.
func (c *Count) Report(now time.Time) *status.Busiest {
	c.Begin(now)
	current, last := *c.current, *c.last // copies, since others wait
	passed := max(now.Sub(c.begun), 0)
	c.End()
	s := sums{clients: map[uint64]status.Client{}, votes: map[uint64]uint32{}, names: map[uint64]status.Name{}}
	s.add(&current)
	s.add(&last)
	return &status.Busiest{
		Seconds: min(passed+half, now.Sub(c.born)).Seconds(),
		Queries: current.queries + last.queries,
		Clients: first(s.clients, func(x, y status.Client) int {
			return cmp.Or(cmp.Compare(y.Queries, x.Queries), x.Address.Compare(y.Address))
		}),
		Names: first(s.names, func(x, y status.Name) int {
			return cmp.Or(cmp.Compare(y.Queries, x.Queries), cmp.Compare(x.Name, y.Name))
		}),
	}
}

// sums are those of several periods, by the keys of the tables.
type sums struct {
	clients map[uint64]status.Client
	votes   map[uint64]uint32 // for the name of the client
	names   map[uint64]status.Name
}

func (s *sums) add(p *period) {
	p.clients.each(func(key, count uint64, v *client) {
		sum := s.clients[key]
		sum.Address = v.address
		sum.Queries, sum.Misses, sum.NXDomain = sum.Queries+count, sum.Misses+uint64(v.misses), sum.NXDomain+uint64(v.nxdomain)
		if sum.Name == "" || v.votes > s.votes[key] {
			sum.Name, s.votes[key] = v.name.String(), v.votes
		}
		s.clients[key] = sum
	})
	p.names.each(func(key, count uint64, v *name) {
		s.names[key] = status.Name{Name: v.String(), Queries: s.names[key].Queries + count}
	})
}

// first returns the values of m in their order, as many as a report has.
func first[T any](m map[uint64]T, order func(x, y T) int) []T {
	sorted := slices.SortedFunc(maps.Values(m), order)
	return append([]T{}, sorted[:min(len(sorted), most)]...) // not nil, which JSON does not show as a list
}

// String returns the name as a zone file has it: what is not printable is escaped. Three dots stand for what was cut off.
func (n *name) String() string {
	if n.len == 0 {
		return ""
	}
	s, _, err := dns.UnpackDomainName(n.wire[:n.len], 0)
	if err != nil {
		return ""
	}
	if n.cut {
		return "..." + s
	}
	return s
}
