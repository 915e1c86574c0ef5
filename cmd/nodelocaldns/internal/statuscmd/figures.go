// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"fmt"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// span returns d in the units that a person reads, two at most: 3m12s, 2h5m, 4d3h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d < 10*time.Second:
		d = d.Round(100 * time.Millisecond)
		return fmt.Sprintf("%gs", d.Seconds())
	case d < time.Hour:
		return short(d, time.Minute, "m", time.Second, "s")
	case d < day:
		return short(d, time.Hour, "h", time.Minute, "m")
	}
	return short(d, day, "d", time.Hour, "h")
}

// short returns d in a unit and, if there is more, a smaller one.
func short(d, unit time.Duration, name string, smaller time.Duration, smallName string) string {
	whole, rest := d/unit, d%unit/smaller
	switch {
	case whole == 0:
		return fmt.Sprintf("%d%s", rest, smallName)
	case rest == 0:
		return fmt.Sprintf("%d%s", whole, name)
	}
	return fmt.Sprintf("%d%s%d%s", whole, name, rest, smallName)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// titles have what a cache of a report is for a person.
var titles = map[string]string{
	packetCache: "packet cache", cache: "cache, with the packet cache's hits", keep: "keep, of what the cache does not know",
}

func cacheSays(c status.Cache) string {
	all := c.Hits + c.Misses
	if all == 0 {
		return titles[c.Name] + ": no query yet"
	}
	said := fmt.Sprintf("%s: %.1f %% of %d queries hit, %d missed", titles[c.Name], 100*float64(c.Hits)/float64(all), all, c.Misses)
	if c.Name != packetCache { // which gives no answer after its end
		said += fmt.Sprintf(", %d old answers given", c.Old)
	}
	return said
}

func busiestRows(row rower, b *status.Busiest) {
	title := fmt.Sprintf("Busiest in %s\t", span(seconds(b.Seconds)))
	for _, c := range b.Clients[:min(shown, len(b.Clients))] {
		row("%s%s: %d of %d queries (%d missed, %d NXDOMAIN), often %s", title, c.Address, c.Queries, b.Queries, c.Misses, c.NXDomain, c.Name)
		title = "\t"
	}
	title = "Names\t"
	for _, n := range b.Names[:min(shown, len(b.Names))] {
		row("%s%s: %d", title, n.Name, n.Queries)
		title = "\t"
	}
}
