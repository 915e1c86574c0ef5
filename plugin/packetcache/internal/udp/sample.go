// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"math/rand/v2"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/shares"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

const (
	// exact is the number of queries a second up to which a reader counts each hit, for package busiest. At a higher rate it counts as
	// many, at random, and each stands for those in between. To count a hit takes at least 1 % of the time of the hit.
	exact = 5000
	// maxStride is the largest number of queries that one stands for.
	maxStride = 16
	// measured is the time over which the rate is measured.
	measured = 100 * time.Millisecond
)

// A sample has the hits of a batch that are to be counted.
type sample struct {
	hits   [batch]sampled
	n      int
	skip   int // hits to leave out before the next one that is counted
	stride int // one in so many is counted, on average
	owed   int // hits of earlier batches that are not counted yet, since another goroutine was counting

	seen  int           // hits
	since time.Duration // the time of which they are counted
}

type sampled struct {
	packet int
	entry  *store.Entry
}

// begin begins a batch.
func (s *sample) begin(now time.Duration) {
	s.n = 0
	passed := now - s.since
	if passed < measured && s.stride > 0 {
		return
	}
	s.stride = int(min(max(float64(s.seen)/passed.Seconds()/exact, 1), maxStride))
	s.seen, s.since, s.skip = 0, now, min(s.skip, s.stride-1)
}

// hit is told that packet i is a hit on e. The number of hits that are left out is random: a fixed one could leave out a client that asks
// at the same rate.
func (s *sample) hit(i int, e *store.Entry) {
	s.seen++
	if s.skip > 0 {
		s.skip--
		return
	}
	s.hits[s.n] = sampled{i, e}
	s.n++
	if s.stride > 1 {
		s.skip = rand.IntN(2*s.stride - 1)
	}
}

// count counts the hits of the sample.
func (r *reader) count(now time.Time) {
	s := &r.sample
	if s.n == 0 {
		return
	}
	defer clear(s.hits[:s.n])
	if !busiest.Process.TryBegin(now) {
		s.owed += s.n * s.stride
		return
	}
	defer busiest.Process.End()
	weight := s.stride + s.owed/s.n
	s.owed %= s.n
	for _, h := range s.hits[:s.n] {
		busiest.Process.Add(busiest.Query{
			Client: shares.Client(r.client(h.packet)), Name: wire.Name(h.entry.Key),
			NXDomain: wire.Rcode(h.entry.Wire) == dns.RcodeNameError, Weight: uint32(weight),
		})
	}
}
