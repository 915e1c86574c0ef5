// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A supervisor keeps the node as it should be: each second it renews the lease,
// asks the cache a question at each address, steers the addresses that answer,
// and looks whether somebody changed what is ours.
type supervisor struct {
	node   *node
	quit   chan struct{}
	wake   chan struct{} // has room for one: do a round
	done   sync.WaitGroup
	s      settings
	health map[netip.Addr]*health
	resync time.Time         // of the last thorough look
	begun  time.Time         // when the addresses began to wait for their first answer
	shared bool              // another instance was here since the rules were last seen to be right
	said   map[string]string // what was logged last, by subject

	forsaken []netip.Addr // taken away, as the rules could not be
	heard    bool         // the servers have answered once
	bare     bool         // rules that steer were seen to be missing, and are not back
	long     atomic.Bool  // it was said that a round took long
}

func newSupervisor(n *node) *supervisor {
	return &supervisor{node: n, quit: make(chan struct{}), wake: make(chan struct{}, 1), said: map[string]string{}}
}

// configure is called with the node locked.
func (v *supervisor) configure(s settings) {
	v.node.checkForLoops(newLoopCheck(s, v.wake))
	old := v.health
	v.s, v.health, v.begun, v.resync = s, map[netip.Addr]*health{}, time.Now(), time.Now()
	steered := v.node.network.Steered()
	for _, a := range s.Addresses {
		v.health[a] = &health{need: 1}
		if h := old[a]; h != nil && slices.Contains(steered, a) {
			v.health[a] = h
		}
	}
	v.publish()
}

func (v *supervisor) run() {
	events := v.node.network.Events()
	v.done.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			var event hostnet.Event
			select {
			case <-v.quit:
				return
			case event = <-events:
			case <-v.wake:
			case <-timer.C:
			}
			begin := time.Now()
			v.node.mu.Lock()
			long := time.AfterFunc(waitPatience, v.sayLong)
			next := v.tick(event)
			long.Stop()
			v.node.mu.Unlock()
			end := time.Now()
			lastRound.Store(&end)
			timer.Reset(next - end.Sub(begin))
		}
	})
}

// sayLong logs, once, that a round has not ended yet: it waits for a command of iptables, or for the kernel.
func (v *supervisor) sayLong() {
	if v.long.CompareAndSwap(false, true) {
		log.Infof("A look at link and rules takes longer than %s: iptables, or this machine, is slow; the addresses' lease is renewed meanwhile", waitPatience)
	}
}

// stop is called with the node locked, which the goroutine may be waiting for.
func (v *supervisor) stop() {
	close(v.quit)
	v.node.mu.Unlock()
	v.done.Wait()
	v.node.checkForLoops(nil)
	lastRound.Store(nil)
	v.node.mu.Lock()
}

// tick does one round and returns the time from its beginning to that of the next.
func (v *supervisor) tick(event hostnet.Event) time.Duration {
	select {
	case <-v.quit:
		return interval
	default:
	}
	if v.node.leaving {
		v.renew(event)
		return interval
	}
	check := v.node.loopCheck.Load()
	if found := check.loop(); found != "" {
		v.node.looped(found)
		return interval
	}
	v.awake()
	healthy := v.renew(event)
	v.check()
	v.node.network.KeepLease()
	steered := v.steer(fmt.Sprintf("no answer to %d self-queries in a row", failuresOff), "self_query")
	v.node.network.KeepLease()
	if steered && v.mend() && healthy { // without the first the second would wait for the same lock
		now := time.Now()
		lastSync.Store(&now)
	}
	v.reportTurn()
	v.sayUplinks()
	v.publish()
	if v.complete() {
		check.begin()
	}
	if !v.complete() && time.Since(v.begun) < startPatience {
		return startInterval
	}
	if v.doubtful() {
		return interval / 2
	}
	return interval
}

// doubtful reports whether an address that is steered failed to answer lately.
func (v *supervisor) doubtful() bool {
	for _, h := range v.health {
		if h.on && h.failures > 0 {
			return true
		}
	}
	return false
}

// awake finds out whether the addresses have run out because this process did
// not run. Then the sockets are full of old queries, and the rules still steer:
// they have to go before the addresses come back, until a self-query, which
// waits its turn behind the old ones, is answered.
func (v *supervisor) awake() {
	renewed := v.node.network.Renewed()
	asleep := time.Since(renewed)
	if v.s.Lease == 0 || renewed.IsZero() || asleep < v.s.Lease {
		return
	}
	for _, h := range v.health {
		*h = health{need: 1}
	}
	v.begun = time.Now()
	v.steer(fmt.Sprintf("the lease ran out, this process did not run for %s", asleep.Round(time.Millisecond)), "lease")
}

// renew renews the lease and counts what had to be put back.
func (v *supervisor) renew(event hostnet.Event) bool {
	repaired, err := v.node.network.Renew()
	v.report("lease", err)
	linkPresent.Set(1)
	switch {
	case err != nil:
		leaseFailures.Inc()
		SetupErrors.WithLabelValues("interface_check").Inc()
		linkPresent.Set(0)
	case repaired:
		repairs.WithLabelValues(string(hostnet.LinkGone)).Inc()
		log.Warningf("Link put back: something removed it (%s)", v.node.network)
	case event == hostnet.AddressGone && len(v.forsaken) == 0:
		repairs.WithLabelValues(string(hostnet.AddressGone)).Inc()
		log.Warningf("Address put back: it had been removed, or not been renewed in time (%s)", v.node.network)
	}
	return err == nil
}

// check asks itself and moves each address's health on.
func (v *supervisor) check() {
	for i, verdict := range ask(v.s.Addresses, v.s.Port, v.s.zone, v.node.token) {
		a := v.s.Addresses[i]
		h := v.health[a]
		if verdict == answered && !v.heard {
			v.heard = true
			v.node.network.Heard()
		}
		if v.complete() || verdict != failed || time.Since(v.begun) > startPatience {
			selfQueries.WithLabelValues(a.String(), verdictNames[verdict]).Inc() // not while the servers are still to listen
		}
		h.note(verdict)
	}
}

// mend puts back rules that somebody changed. With other instances alive it
// looks only at each resync: their rules are for the same end, and two that
// correct each other would never come to rest. If it steers nothing yet, the
// rules are the other's alone.
func (v *supervisor) mend() bool {
	thorough, alone := time.Since(v.resync) >= v.s.Resync, v.node.network.Alone()
	if !alone && !v.shared {
		v.shared = true
		log.Infof("Another instance runs on this node: %s", v.node.network.Peers())
	}
	if !alone && (!thorough || len(v.node.network.Steered()) == 0) {
		return true
	}
	var broken []string
	err := v.node.network.Inherit()
	if err == nil && thorough {
		err = v.node.network.FollowUplinks()
	}
	if err == nil {
		broken, err = v.node.network.Intact(thorough)
	}
	if err == nil {
		v.bare = slices.Contains(broken, "rules")
	}
	if err == nil && thorough {
		v.resync = time.Now()
	}
	if err == nil && len(broken) > 0 {
		if err = v.node.network.Repair(broken); err == nil {
			v.bare = false
			v.repaired(broken)
		}
	}
	v.node.warn()
	if err == nil && alone {
		v.shared = false
	}
	v.reportRules(err)
	rulesPresent.Set(0)
	if err == nil {
		rulesPresent.Set(1)
	}
	return err == nil
}

// repaired tells of rules that were put back. One instance changes those of the
// other when it starts or leaves, and that is nobody's fault.
func (v *supervisor) repaired(objects []string) {
	if v.shared {
		log.Infof("Put back what another instance changed: %v (%s)", objects, v.node.network)
		return
	}
	for _, object := range objects {
		repairs.WithLabelValues(object).Inc()
	}
	log.Warningf("Put back what something removed or changed: %v (%s)", objects, v.node.network)
}
