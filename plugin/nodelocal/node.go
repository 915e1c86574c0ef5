// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

const (
	// startInterval is the time between self-queries until all addresses are steered.
	startInterval = 20 * time.Millisecond
	// startPatience is how long the start may take before it is worth a line in the log.
	startPatience = 5 * time.Second
	// interval is the time between two looks at everything.
	interval = time.Second
	// withdrawPatience bounds the wait for other programs' locks when leaving.
	withdrawPatience = 8 * time.Second
	// lockPatience bounds that wait at the start, and reloadPatience at a
	// reload, where the addresses of the last configuration are kept meanwhile.
	lockPatience, reloadPatience = time.Minute, 10 * time.Second
	// drainMin and drainMax bound the time to answer what is queued after
	// steering went off; the least is for packets that were on their way.
	drainMin, drainMax = 100 * time.Millisecond, 2 * time.Second
)

// settings is what one configuration asks for.
type settings struct {
	options
	zone      string   // of the server block that answers self-queries
	loopZones []string // of the server blocks with the directive loop, one each
}

// A node is the state of the process: caddy starts the next configuration
// before it stops the last, so none of this may belong to one of them.
type node struct {
	token string // tells this process's answers to self-queries from a peer's

	mu         sync.Mutex // held over every use of what follows
	settings   settings
	network    *hostnet.Network // nil: nothing is owned
	guard      *guard           // of the servers' sockets; nil: there are none
	supervisor *supervisor
	restart    bool // a reload has begun
	started    bool // ... and the next configuration has this plugin too
	unsettled  bool // ... and the network could not be made what it wants: it is not what settings say either
	leaving    bool
	steered    atomic.Bool // all addresses are
	loopCheck  atomic.Pointer[loopCheck]
	loops      chan error // has room for one, as one comes; nil: Loops was not called

	// foreseen is the addresses for which there is a fallback table that no network of this process has taken over yet.
	foreseen []netip.Addr

	// stanza returns what the stanza that was parsed last says; nil: none was.
	stanza func() (settings, error)
}

// theNode is the process's one.
var theNode = &node{token: rand.Text()}

// start makes the node ready for the servers of s to listen.
func (n *node) start(s settings) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started = true
	if !s.owns() {
		n.settings = s
		n.steered.Store(true)
		err := n.closeLocked()
		n.unforesee()
		n.watch(s.Port)
		return err
	}
	var err error
	if n.network == nil {
		err = n.open(s)
	} else {
		err = n.prepare(s)
	}
	if err != nil {
		SetupErrors.WithLabelValues(setupErrorType(err)).Inc()
		return NetworkError{err}
	}
	n.unsettled = false
	n.warn()
	n.settings = s
	n.supervisor.configure(s)
	n.watch(s.Port)
	return nil
}

// restore makes the node what s says after a reload that failed. What cannot be
// changed back is left and taken anew; the cluster DNS answers meanwhile.
func (n *node) restore(s settings) error {
	err := n.start(s)
	if err == nil {
		return n.forget()
	}
	log.Warningf("Setting up the node's network anew: going back to the last configuration: %v", err)
	n.mu.Lock()
	err = n.closeLocked()
	n.mu.Unlock()
	if err != nil {
		log.Errorf("%v", err)
	}
	return n.start(s)
}

// forget takes away what only the refused configuration would have needed.
func (n *node) forget() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.network == nil {
		return nil
	}
	return n.network.Commit()
}

func (n *node) open(s settings) error {
	network, err := openPatiently(s.Config)
	if err != nil {
		return err
	}
	n.network, n.leaving, n.foreseen = network, false, nil
	n.supervisor = newSupervisor(n)
	n.supervisor.run()
	return nil
}

// prepare makes the addresses of s be there for its servers, and for those of
// other plugins: one that has run out, as this process did not run, would fail
// the reload.
func (n *node) prepare(s settings) error {
	n.supervisor.awake()
	n.supervisor.forgive()
	n.supervisor.renew("")
	if sameNetwork(n.settings.Config, s.Config) && !n.unsettled {
		return nil
	}
	n.unsettled = true
	var waiting wait
	for begin := time.Now(); ; time.Sleep(startInterval) {
		err := n.network.Prepare(s.Config, func() { withdrawals.WithLabelValues("reload").Inc(); n.drain() })
		busy := errors.Is(err, hostnet.ErrLocked) || errors.Is(err, hostnet.ErrTurn)
		if !busy || time.Since(begin) > reloadPatience {
			return err
		}
		waiting.on("change the node's network", err)
		n.network.KeepLease()
	}
}

// openPatiently waits for another program's xtables lock: without the cache the
// cluster DNS answers, and a restart would only come to wait as well.
func openPatiently(c hostnet.Config) (*hostnet.Network, error) {
	var warn sync.Once
	for begin := time.Now(); ; time.Sleep(startInterval) {
		network, err := hostnet.Open(c)
		if !errors.Is(err, hostnet.ErrLocked) || time.Since(begin) > lockPatience {
			return network, err
		}
		SetupErrors.WithLabelValues("iptables_lock").Inc()
		warn.Do(func() { log.Warningf("Waiting to set up the node's network: %v", err) })
	}
}

// sameNetwork reports whether a reload need not touch the network.
func sameNetwork(a, b hostnet.Config) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// warn logs what the network has to say.
func (n *node) warn() {
	for _, w := range n.network.Warnings() {
		log.Warning(w)
	}
}

// restarting notes that a reload began.
func (n *node) restarting() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.restart, n.started = true, false
}

// ended is called when the servers of a configuration have stopped in a reload,
// or are about to at the end.
func (n *node) ended() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.restart {
		return
	}
	n.restart = false
	var err error
	switch {
	case !n.started:
		if n.network != nil {
			log.Info("The configuration has no nodelocal any more: leaving the node's network")
		}
		err = n.closeLocked()
	case n.network != nil:
		err = n.network.Commit()
	}
	if err != nil {
		log.Errorf("%v", err)
	}
}

func (n *node) ready() bool { return n.steered.Load() }

func addrList[T fmt.Stringer](addrs []T) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, " ")
}

// setupErrorType is the reference's name for where an error at start belongs.
func setupErrorType(err error) string {
	if strings.Contains(err.Error(), "tables") {
		return ruleErrorType(err)
	}
	return "interface_add"
}
