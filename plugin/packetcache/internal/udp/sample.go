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

// counted is how many packets of a batch are counted at most, for package busiest. Of a larger batch every second, third … eighth is,
// from a random one on, and stands for the others.
const counted = 4

// A sample has the hits of a batch that are counted.
type sample struct {
	hits   [counted]sampled
	n      int
	next   int    // the packet to look at
	stride int    // from one to the next
	owed   uint64 // hits of earlier batches that are not counted yet, since another goroutine was counting
}

type sampled struct {
	packet int
	entry  *store.Entry
}

// begin begins a batch of n packets.
func (s *sample) begin(n int) {
	s.n, s.next, s.stride = 0, 0, (n+counted-1)/counted
	if s.stride > 1 {
		s.next = rand.IntN(s.stride)
	}
}

// hit is told that packet i is a hit on e. The packets come in their order.
func (s *sample) hit(i int, e *store.Entry) {
	for ; s.next < i; s.next += s.stride { // those were no hits
	}
	if s.next == i {
		s.hits[s.n] = sampled{i, e}
		s.n++
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
		s.owed += uint64(s.n * s.stride)
		return
	}
	defer busiest.Process.End()
	weight := uint64(s.stride) + s.owed/uint64(s.n)
	s.owed %= uint64(s.n)
	for _, h := range s.hits[:s.n] {
		busiest.Process.Add(busiest.Query{
			Client: shares.Client(r.client(h.packet)), Name: wire.Name(h.entry.Key),
			NXDomain: wire.Rcode(h.entry.Wire) == dns.RcodeNameError, Weight: weight,
		})
	}
}
