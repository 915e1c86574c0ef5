// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"math"
	"net/netip"
	"sync"
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

// unusedTime is how long the BPF program stays loaded and attached without a configuration that uses it, and gives no answers.
const unusedTime = 5 * time.Second

// A kernelProgram is the BPF program of the process. The configurations that follow each other share it: to attach a program and to detach
// it takes the kernel some 30 ms an interface, with a lock that all changes of the network need.
type kernelProgram struct {
	mu    sync.Mutex
	p     *kernel.Program // nil: not loaded
	users int             // configurations
	end   *time.Timer     // closes p; nil: there was no need yet
}

var program kernelProgram

// use returns the program, and loads it if need be. A caller that gets no error calls leave once.
func (k *kernelProgram) use() (*kernel.Program, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.p == nil {
		p, err := kernel.Load(kernel.Options{SelfQueryMark: hostnet.SelfQueryMark, Hits: countKernel, Asked: countAsked, Logf: log.Warningf})
		if err != nil {
			return nil, err
		}
		k.p = p
	}
	k.users++
	if k.end != nil {
		k.end.Stop()
	}
	return k.p, nil
}

// leave ends the use of the program. It does not wait until the program is detached. The end of the process detaches it, too.
func (k *kernelProgram) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users--; k.users == 0 {
		k.end = time.AfterFunc(unusedTime, k.closeUnused)
	}
}

func (k *kernelProgram) closeUnused() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users > 0 || k.p == nil {
		return
	}
	if err := k.p.Close(); err != nil {
		log.Warningf("Ending the BPF program: %v", err)
	}
	k.p = nil
}

// loadKernel makes the servers of this configuration use the BPF program. To load it takes some tenths of a second, in which the servers
// answer alone. Without the program they answer alone as well.
func (ss *servers) loadKernel() {
	p, err := program.use()
	if err != nil {
		log.Warningf("Hits are answered by the process, not in the kernel: %v", err)
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.phase == replaced {
		program.leave()
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
	k, err := p.Serve(addr.Addr().Unmap(), s.kernelTerms)
	if err != nil {
		log.Warningf("Hits at %s are answered by the process, not in the kernel: %v", s.dns.Addr, err)
		return
	}
	s.kernel.Store(k)
}

// Replaced implements udp.Backend. The BPF program gives no answer of s any more.
func (s *server) Replaced() {
	if k := s.kernel.Swap(nil); k != nil {
		k.Stop()
	}
}

// Interfaces implements udp.Backend.
func (s *server) Interfaces() bool { return s.kernelTerms.Admit > 0 }

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
