// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal/internal/loopcheck"
)

// A supervisor keeps the node as it should be. Each second it renews the lease, asks the cache a question at each address,
// steers the addresses that answer, and looks whether another program changed what is ours. What it sees goes to its history,
// which decides. Its methods are called with the node locked.
type supervisor struct {
	*history
	node   *node
	cancel context.CancelFunc
	wake   chan struct{} // has room for one: do a round
	done   sync.WaitGroup
	long   sync.Once // the log says that a round takes long
}

// newSupervisor returns one that does rounds until stop.
func newSupervisor(n *node) *supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	v := &supervisor{history: newHistory(n.host.turnHolder), node: n, cancel: cancel, wake: make(chan struct{}, 1)}
	v.done.Go(func() { v.run(ctx) })
	return v
}

func (v *supervisor) run(ctx context.Context) {
	events := v.node.network.Events()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var event hostnet.Event
		select {
		case <-ctx.Done():
			return
		case event = <-events:
		case <-v.wake:
		case <-timer.C:
		}
		begin := time.Now()
		select {
		case <-ctx.Done(): // stop has the lock, and waits for this goroutine
			return
		case v.node.busy <- struct{}{}:
		}
		next := v.round(event)
		v.node.busy.unlock()
		lastRound.Store(new(time.Now()))
		timer.Reset(next - time.Since(begin))
	}
}

// stop ends the rounds. No round is under way, since the caller has the node locked.
func (v *supervisor) stop() {
	v.cancel()
	v.done.Wait()
	v.node.checkForLoops(nil)
	lastRound.Store(nil)
	v.node.seen.Store(nil)
	lastSync.Store(nil)
}

// rouse has the next round begin at once.
func (v *supervisor) rouse() {
	select {
	case v.wake <- struct{}{}:
	default: // one is about to begin
	}
}

// configure has the next rounds work for s.
func (v *supervisor) configure(s settings) {
	v.node.checkForLoops(loopcheck.New(s.loopZones, s.Addresses, s.Port, v.rouse))
	v.history.configure(s, v.status(), time.Now())
	v.publish()
}

// round observes, decides, acts and tells. It returns the time from its beginning to that of the next.
func (v *supervisor) round(event hostnet.Event) time.Duration {
	long := time.AfterFunc(waitPatience, func() {
		v.long.Do(func() {
			log.Infof("A look at link and rules takes longer than %s: iptables, or this machine, is slow; the addresses' lease is renewed meanwhile", waitPatience)
		})
	})
	defer long.Stop()
	check := v.node.loopCheck.Load()
	switch found := check.Found(); {
	case v.node.phase == leaving:
		v.renew(event)
		return interval
	case found != "":
		v.node.looped(found)
		return interval
	}
	v.awake()
	leased := v.renew(event)
	verdicts := v.node.host.ask(v.s.Addresses, v.s.Port, v.s.zone, v.node.token)
	if v.steer(v.decide(verdicts, v.status(), time.Now())) && v.check() && leased {
		lastSync.Store(new(time.Now()))
	}
	status := v.status()
	next := v.conclude(status, time.Now())
	v.publish()
	if v.complete(status) {
		check.Begin()
	}
	return next
}

// awake takes steering off if the lease has run out because this process did not run.
func (v *supervisor) awake() {
	if d, slept := v.slept(v.status(), time.Now()); slept {
		v.steer(d)
		v.node.seen.Store(v.seen(v.status(), time.Now())) // before the addresses are back on the link
	}
}

// renew renews the lease, and reports whether that succeeded.
func (v *supervisor) renew(event hostnet.Event) bool {
	repaired, err := v.node.network.Renew()
	v.renewed(repaired, err, event, v.status())
	v.tell()
	return err == nil
}

// steer makes the node as decided; what fails is tried again in the next round.
func (v *supervisor) steer(d decision) bool {
	change, err := v.node.network.Apply(hostnet.Want{Config: v.s.Config, Steered: d.steered, Servers: v.node.phase.servers()})
	defer v.tell()
	return v.applied(d, change, err, v.status())
}

// check looks at rules and fallback. Steer comes first and has to succeed: otherwise check would wait for the same lock.
func (v *supervisor) check() bool {
	thorough := v.thorough(time.Now())
	findings, err := v.node.network.Check(thorough)
	defer v.tell()
	return v.checked(findings, err, thorough, v.status(), time.Now())
}

// prepare makes the node ready for servers of c to listen. Addresses that are off the link, since the lease has run out or
// rules could not be changed, come back: without them the reload, or another plugin's, would fail.
func (v *supervisor) prepare(c hostnet.Config) (err error) {
	v.awake()
	v.renew(hostnet.Event{})
	waiting := v.waiting("change the node's network")
	retry.Until(reloadPatience, startInterval, func() bool {
		var change hostnet.Change
		change, err = v.node.network.Apply(hostnet.Want{Config: c, Servers: hostnet.ServersStarting})
		if change.Drained {
			v.count("withdrawals", "reload")
			v.tell()
		}
		busy := errors.Is(err, hostnet.ErrLocked) || errors.Is(err, hostnet.ErrTurn)
		if busy {
			waiting(err)
		}
		return !busy
	})
	return err
}

// leave takes steering off for good.
func (v *supervisor) leave(reason, why string) {
	v.notes.leaving = why
	had := len(ruled(v.status())) > 0
	err := v.node.network.Leave(hostnet.Leaving{
		Patience: withdrawPatience,
		Waiting:  v.waiting("take steering away"),
		Heard:    v.heard,
		Off: func() {
			if had {
				v.count("withdrawals", reason)
				v.say("info", "Steering off: "+why)
			}
			v.publish()
		},
	})
	v.trouble("withdraw", err)
	v.tell()
}

// status returns a snapshot of the network, and logs what it warns of.
func (v *supervisor) status() hostnet.Status {
	status := v.node.network.Status()
	for _, w := range status.Warnings {
		log.Warning(w)
	}
	return status
}

// publish tells what is to be told, and updates the readiness and what the metrics are computed from.
func (v *supervisor) publish() {
	v.tell()
	status := v.status()
	believed := steered(status)
	if v.bare {
		believed = nil
	}
	belief.Store(&steering{v.s.Config, believed, kinds(status)})
	v.node.seen.Store(v.seen(status, time.Now()))
	v.node.ready.Store(v.complete(status))
}
