// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"math"
	"net/netip"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/shares"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/kernel"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// kernelHits is the number of hits after which the BPF program gets an answer: most answers are not asked for again within their
// second.
const kernelHits = 2

// A kernelUse says whether a BPF program answers hits.
type kernelUse uint8

const (
	kernelOff   kernelUse = iota
	kernelOn              // where no program of others sees the queries
	kernelForce           // before programs of others, too
)

// loadKernel loads the BPF program of this configuration, and makes its servers use the program. It takes some tenths of a
// second, in which the servers answer alone. Without the program they answer alone as well.
func (ss *servers) loadKernel() {
	p, err := kernel.Load(kernel.Options{
		SelfQueryMark: hostnet.SelfQueryMark, Admit: ss.Admit, Force: ss.Kernel == kernelForce,
		Hits: countKernel, Asked: countAsked, Logf: log.Warningf,
	})
	if err != nil {
		log.Warningf("Hits are answered by the process, not in the kernel: %v", err)
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.phase == replaced {
		closeKernel(p, nil)
		return
	}
	ss.program = p
	for _, s := range ss.all {
		s.answerInKernel(p)
	}
}

// answerInKernel makes the BPF program answer at the address of s from now on. The program knows port 53 alone.
func (s *server) answerInKernel(p *kernel.Program) {
	addr := s.lease.Addr().AddrPort()
	if addr.Port() != 53 {
		return
	}
	k, err := p.Serve(addr.Addr().Unmap())
	if err != nil {
		log.Warningf("Hits at %s are answered by the process, not in the kernel: %v", s.dns.Addr, err)
		return
	}
	s.kernel.Store(k)
}

// closeKernel ends the BPF program of a configuration, before its servers end.
func closeKernel(p *kernel.Program, all []*server) {
	if p == nil {
		return
	}
	for _, s := range all {
		s.Replaced()
	}
	if err := p.Close(); err != nil {
		log.Warningf("Ending the BPF program: %v", err)
	}
}

// Replaced implements udp.Backend. The BPF program gives no answer of s any more.
func (s *server) Replaced() {
	if k := s.kernel.Swap(nil); k != nil {
		k.Stop()
	}
}

// Interfaces implements udp.Backend.
func (s *server) Interfaces() bool { return s.useKernel }

// Came implements udp.Backend. The query came through the whole stack, so its client may be answered in the kernel for a while.
func (s *server) Came(sender netip.Addr, ifindex uint32) {
	if k := s.kernel.Load(); k != nil {
		k.Came(sender, ifindex, udp.Clock())
	}
}

// promote gives the BPF program an answer that clients ask for again.
func (s *server) promote(e *store.Entry, o *origin) {
	k := s.kernel.Load()
	if k == nil || o.hits.Load() >= kernelHits || o.hits.Add(1) != kernelHits {
		return
	}
	if e.Fresh(udp.Clock()) {
		k.Put(e, udp.Clock)
	}
}

// kernelTook is how long the program takes for a hit, in about. It falls into the first bucket of the histogram.
const kernelTook = time.Microsecond

// countKernel counts what the BPF program has answered.
func countKernel(e *store.Entry, times uint64) {
	o := e.Value.(*origin)
	o.countersOf(e).hit(o, kernelTook, times)
	o.server.hits.Add(float64(times))
	o.server.kernelHits.Add(float64(times))
	busiest.Process.Begin(time.Now())
	defer busiest.Process.End()
	busiest.Process.AddName(wire.Name(e.Key), clamped(times))
}

// countAsked counts the same hits for the clients that asked.
func countAsked(a kernel.Asked) {
	q := busiest.Query{Client: shares.Client(a.Client), Weight: clamped(a.Hits - a.NXDomain)}
	if a.Last != nil {
		q.Name = wire.Name(a.Last.Key)
	}
	busiest.Process.Begin(time.Now())
	defer busiest.Process.End()
	if q.Weight > 0 {
		busiest.Process.AddClient(q)
	}
	if q.Weight, q.NXDomain = clamped(a.NXDomain), true; q.Weight > 0 {
		busiest.Process.AddClient(q)
	}
}

// clamped is n as the weight of a query.
func clamped(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
