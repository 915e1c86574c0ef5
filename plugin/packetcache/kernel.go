// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"net/netip"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/kernel"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
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
		SelfQueryMark: hostnet.SelfQueryMark, Admit: ss.Admit, Force: ss.Kernel == kernelForce, Hits: countKernel, Logf: log.Warningf,
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

// answerInKernel makes the BPF program answer at the address of s from now on.
func (s *server) answerInKernel(p *kernel.Program) {
	k, err := p.Serve(s.lease.Addr().AddrPort().Addr().Unmap())
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
		if k := s.kernel.Swap(nil); k != nil {
			k.Stop()
		}
	}
	if err := p.Close(); err != nil {
		log.Warningf("Ending the BPF program: %v", err)
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
	if now := udp.Clock(); e.Fresh(now) {
		k.Put(e, now)
	}
}

// kernelTook is how long the program takes for a hit, in about. It falls into the first bucket of the histogram.
const kernelTook = time.Microsecond

// countKernel counts what the BPF program has answered.
func countKernel(e *store.Entry, times uint64) {
	o := e.Value.(*origin)
	c := o.countersOf(e)
	for range times {
		c.hit(o, kernelTook)
	}
	o.server.hits.Add(float64(times))
	o.server.kernelHits.Add(float64(times))
}
