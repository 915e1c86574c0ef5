// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
	vitals "github.com/nodelocaldns/nodelocaldns/internal/status"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal/internal/loopcheck"
)

const (
	// startInterval is the time between two rounds until all addresses are steered, for startPatience at most, and between two
	// attempts at a start.
	startInterval = 20 * time.Millisecond
	// startPatience is how long the start may take before the log says that it takes long, and rounds become rarer.
	startPatience = 5 * time.Second
	// interval is the time between two rounds otherwise. While an address fails to answer it is half of that.
	interval = time.Second
	// withdrawPatience bounds the wait for other programs' locks when this process leaves.
	withdrawPatience = 8 * time.Second
	// lockPatience bounds that wait at the start, and reloadPatience at a reload, where the addresses of the last configuration
	// are kept meanwhile.
	lockPatience, reloadPatience = time.Minute, 10 * time.Second
)

// settings is what one configuration asks for.
type settings struct {
	options
	zone      string   // of the server block that answers self-queries
	loopZones []string // of the server blocks with the directive loop, one each
}

// A lock is a mutex that can be awaited in a select: send to lock, receive to unlock.
type lock chan struct{}

func (l lock) lock()   { l <- struct{}{} }
func (l lock) unlock() { <-l }

// A node is the state of the process. The node outlives configurations: caddy starts the next one before it stops the last one.
type node struct {
	token     string // tells this process's answers to self-queries from another instance's
	host      host
	ready     atomic.Bool // all addresses are steered
	loopCheck atomic.Pointer[loopcheck.Check]
	seen      atomic.Pointer[vitals.Node] // as the last round left it, for the command status; nil: there was none

	busy       lock // held over every use of what follows
	phase      phase
	settings   settings
	network    network     // nil: nothing is owned
	supervisor *supervisor // of the network
	unguard    func()      // ends the guard of the servers' sockets; nil: there is none
	guarded    uint16      // the port that the guard knows
	loops      chan error  // has room for one, as one comes; nil: Loops was not called

	// foreseen is the addresses for which there is a fallback table that no network of this process has taken over yet.
	foreseen []netip.Addr

	// stanza returns what the stanza that was parsed last says; nil: none was.
	stanza func() (settings, error)
}

func newNode(h host) *node { return &node{token: rand.Text(), host: h, busy: make(lock, 1)} }

// theNode is the process's one.
var theNode = newNode(thisHost)

// start makes the node ready for the servers of s to listen. A process that is about to end keeps the node as it is.
func (n *node) start(s settings) error {
	n.busy.lock()
	defer n.busy.unlock()
	if n.phase = n.phase.after(begins); n.phase == leaving {
		return nil
	}
	if !s.Owns() {
		before := n.phase
		err := n.close()
		n.phase, n.settings = before, s // close ends the network only: the configuration runs, so its phase stays
		n.ready.Store(true)
		n.seen.Store(&vitals.Node{})
		n.unforesee()
		n.watch(s.Port)
		return err
	}
	if err := n.own(s); err != nil {
		SetupErrors.WithLabelValues(setupErrorType(err)).Inc()
		return NetworkError{err}
	}
	n.settings = s
	n.supervisor.configure(s)
	n.watch(s.Port)
	return nil
}

// own makes the network what s says, with the link's addresses and without rules for addresses that nobody answers at yet.
func (n *node) own(s settings) (err error) {
	if n.network != nil {
		return n.supervisor.prepare(s.Config)
	}
	if n.network, err = n.open(s.Config); err != nil {
		n.network = nil // not an interface that holds a nil pointer
		return err
	}
	n.foreseen = nil
	n.supervisor = newSupervisor(n)
	return nil
}

// open waits for another program's xtables lock. Without the cache the cluster DNS answers, and a process that is started anew
// would only wait as well.
func (n *node) open(c hostnet.Config) (opened network, err error) {
	var warn sync.Once
	retry.Until(lockPatience, startInterval, func() bool {
		opened, err = n.host.open(c)
		if !errors.Is(err, hostnet.ErrLocked) {
			return true
		}
		SetupErrors.WithLabelValues("iptables_lock").Inc()
		n.seen.Store(&vitals.Node{Owned: true, Waiting: fmt.Sprintf("to set up the node's network: %v", err)})
		warn.Do(func() { log.Warningf("Waiting to set up the node's network: %v", err) })
		return false
	})
	if err != nil {
		n.seen.Store(nil) // nobody waits any more
	}
	return opened, err
}

// restore makes the node what s says after a reload that failed. If that fails, restore closes the network and opens it
// again. The cluster DNS answers meanwhile.
func (n *node) restore(s settings) error {
	err := n.start(s)
	if err != nil {
		log.Warningf("Setting up the node's network anew: going back to the last configuration: %v", err)
		n.busy.lock()
		err = n.close()
		n.busy.unlock()
		if err != nil {
			log.Errorf("%v", err)
		}
		err = n.start(s)
	}
	return errors.Join(err, n.take(restored)())
}

// take returns what caddy is to call at a step.
func (n *node) take(s step) func() error {
	return func() error {
		n.busy.lock()
		defer n.busy.unlock()
		if s == leaves {
			n.stepAside()
			return nil
		}
		gone := n.phase == reloading && s == ended
		if n.enter(s); !gone {
			return nil
		}
		if n.network != nil {
			log.Info("The configuration has no nodelocal any more: leaving the node's network")
		}
		if err := n.close(); err != nil {
			log.Errorf("%v", err)
		}
		return nil
	}
}

// enter takes a step. The next round, which begins at once, does what the new phase asks of the network.
func (n *node) enter(s step) {
	n.phase = n.phase.after(s)
	if n.network != nil {
		n.supervisor.rouse()
	}
}

// stepAside takes steering away, and waits until what has arrived is read, 2 s at most. The servers still run.
func (n *node) stepAside() {
	if n.network == nil || n.phase == leaving {
		return
	}
	if !n.settings.SkipTeardown {
		n.withdraw("shutdown", "shutting down")
		return
	}
	n.phase = n.phase.after(leaves)
	n.ready.Store(false)
	log.Info("Leaving rules and link in place (skip_teardown)")
}

// withdraw takes steering away for good. Reason is for the metric and why for the log.
func (n *node) withdraw(reason, why string) {
	n.phase = n.phase.after(leaves)
	n.ready.Store(false)
	n.supervisor.leave(reason, why)
}

// Close takes away what is left of the plugin on the node. A program that embeds CoreDNS calls it once its servers have
// stopped; steering was taken away before, by the shutdown callbacks. It may be called at any time, and twice.
func Close() error {
	theNode.busy.lock()
	defer theNode.busy.unlock()
	return theNode.close()
}

// close leaves the node; the servers must have stopped.
func (n *node) close() error {
	n.stepAside()
	n.phase = n.phase.after(closed)
	n.unwatch()
	if n.network == nil {
		return nil
	}
	n.supervisor.stop()
	err := n.network.Close(n.settings.SkipTeardown)
	sayLeft(n.network.Status().Fallback)
	n.network, n.supervisor = nil, nil
	return err
}

// looped takes steering off for good and ends the process.
func (n *node) looped(found string) {
	n.withdraw("loop", "a loop")
	if n.loops == nil {
		log.Fatalf("Ending this process: %s", found)
	}
	n.loops <- errors.New(found)
}

// Loops returns a channel. It gets one error when the cache's own queries have come back to the cache and steering is off for
// that reason. The program has to end then, with an exit code other than 0. If the program has not called Loops, the plugin
// ends it with exit code 1, as CoreDNS's plugin loop does.
func Loops() <-chan error {
	theNode.busy.lock()
	defer theNode.busy.unlock()
	theNode.loops = make(chan error, 1)
	return theNode.loops
}

// checkForLoops makes l the check for loops, in the place of the last one, which it ends; nil is none. It does not wait for answers.
func (n *node) checkForLoops(l *loopcheck.Check) {
	if old := n.loopCheck.Swap(l); old != nil {
		old.Stop()
	}
}

// watch starts the guard for the sockets of the servers at a port. Without /proc there is no guard.
func (n *node) watch(port uint16) {
	if n.unguard != nil && n.guarded == port {
		return
	}
	n.unwatch()
	stop, err := n.host.guard(port)
	if err != nil {
		log.Errorf("No bound on the TCP connections of a client: %v", err)
		return
	}
	n.unguard, n.guarded = stop, port
}

func (n *node) unwatch() {
	if n.unguard != nil {
		n.unguard()
		n.unguard = nil
	}
}
