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

// A Tally counts what was denied to clients, for a report that comes seldom. Its zero value is ready. It is not safe for use by
// several goroutines at once.
type Tally struct {
	counts map[netip.Addr]int // since told
	told   time.Time
}

// Add counts n for a client. At the first call, and at most each 30 s after that, it returns the client with the most since the
// last report, and its number; else a number of 0.
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
