// SPDX-License-Identifier: Apache-2.0

package shares

import (
	"net/netip"
	"time"
)

const (
	// tellEvery is the least time between two reports.
	tellEvery = 30 * time.Second
	// maxTally bounds the clients that are counted between two reports.
	maxTally = 1024
)

// A Tally counts the refusals of each client between two reports. The zero value is ready. Only one goroutine may use a Tally at a
// time.
type Tally struct {
	counts map[netip.Addr]int // refusals since told
	told   time.Time          // of the last report
}

// Add counts n refusals of client. At the first call, and later every 30 s at most, a report is due: Add returns the client with the
// most refusals since the last report, and their number. Otherwise most is 0.
func (t *Tally) Add(client netip.Addr, n int, now time.Time) (busiest netip.Addr, most int) {
	if t.counts == nil {
		t.counts = map[netip.Addr]int{}
	}
	if _, ok := t.counts[client]; ok || len(t.counts) < maxTally {
		t.counts[client] += n
	}
	if now.Sub(t.told) < tellEvery {
		return busiest, 0
	}
	for c, n := range t.counts {
		if n > most || n == most && c.Less(busiest) {
			busiest, most = c, n
		}
	}
	clear(t.counts)
	t.told = now
	return busiest, most
}
