// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// ErrTurn says that another instance on this node is leaving and does not want
// the shared rules changed; try again.
var ErrTurn = errors.New("another instance on this node is leaving")

// A Network is the piece of the node's network that one cache owns. Its methods
// are for one goroutine.
type Network struct {
	cfg      Config
	parting  []netip.Addr // addresses of the last configuration whose servers still run
	slot     int
	claims   []*claim // the slot, and while leaving the turn
	link     Link
	firewall Firewall
	fallback *Fallback
	steered  []netip.Addr
	settling []netip.Addr // of the steered
	settled  time.Time    // when the settling ends
	served   bool         // an address was steered once
	gone     bool         // the addresses were taken away for good
	found    bool         // a fallback table was there before
	warnings []string
	events   chan Event
	done     chan struct{} // closes the watch
	lost     chan struct{}
	index    atomic.Int64 // of the link, for the watch
}

// A Firewall keeps the steering rules.
type Firewall interface {
	// Set makes the rules what s says, whatever was there before.
	Set(s Steering) error
	// Intact reports whether the rules are as Set left them; thorough may
	// start processes, otherwise it only asks the kernel.
	Intact(thorough bool) (bool, error)
	// Remove takes out all rules of ours.
	Remove() error
	// String returns the backend's name.
	String() string
}

// Open takes possession: leftovers of dead predecessors and of the reference
// go, the fallback answers, the link with its addresses comes. Steering is off.
// The order matters: an address without rules is safe, a rule without a server
// behind it is not. On an error nothing is left behind.
func Open(cfg Config) (*Network, error) {
	if err := errors.Join(cfg.Validate(), checkCapability(cfg)); err != nil {
		return nil, err
	}
	slot, c, err := takeSlot()
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, slot: slot, claims: []*claim{c}, events: make(chan Event, 1)}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	return n, nil
}

func (n *Network) open() (err error) {
	if n.firewall, err = openFirewall(n.cfg); err != nil {
		return err
	}
	if n.link, err = n.openLink(); err != nil {
		return err
	}
	n.fallback = newFallback(n.cfg)
	n.found = fallbackExists()
	if n.Alone() {
		if err := errors.Join(n.clearLeftovers(), n.apply(nil)); err != nil {
			return err
		}
	}
	if _, err := n.Renew(); err != nil {
		return err
	}
	return n.watch()
}

// Warnings returns, once, what a user should know about how Open went.
func (n *Network) Warnings() []string {
	w := n.warnings
	n.warnings = nil
	return w
}

// String names the link and the firewall backend.
func (n *Network) String() string { return fmt.Sprintf("%s, %s", n.link, n.firewall) }

// Alone reports whether no other instance lives on this node.
func (n *Network) Alone() bool { return peers(n.slot) == 0 }

// Steered returns the addresses that DNS is steered to.
func (n *Network) Steered() []netip.Addr { return n.steered }

// Events returns a channel that tells when the link or an address of this or
// of another instance went.
func (n *Network) Events() <-chan Event { return n.events }

// Renew renews the addresses' lease; repaired says that the link had gone.
func (n *Network) Renew() (repaired bool, err error) {
	if n.gone {
		return false, nil
	}
	select {
	case <-n.lost:
		if err := n.watch(); err != nil {
			return false, err
		}
	default:
	}
	repaired, err = n.link.Set(slices.Concat(n.cfg.Addresses, n.parting), n.cfg.Lease)
	if l, ok := n.link.(*kernelLink); ok {
		n.index.Store(int64(l.index))
	}
	return repaired, err
}

// Steer steers DNS to exactly addrs. Other instances' sockets get it too.
// It returns ErrTurn or ErrLocked if that is to be tried again.
func (n *Network) Steer(addrs []netip.Addr) error {
	return n.inTurn(func() error { return n.apply(addrs) })
}

// inTurn runs f while no other instance may change rules.
func (n *Network) inTurn(f func() error) error {
	turn, err := takeTurn()
	if err != nil {
		return err
	}
	if turn == nil {
		return ErrTurn
	}
	defer turn.release()
	return f()
}

// apply sets steering and fallback in the order that loses nothing: the
// fallback rewrites in front of the steering rules, so an address must never be
// rewritten to one that is steered, as only the server's other socket would answer.
func (n *Network) apply(addrs []netip.Addr) error {
	away := without(n.cfg.Addresses, addrs)
	less := len(addrs) < len(n.steered)
	if !less {
		if err := n.setFallback(away); err != nil {
			return err
		}
	}
	n.beginSettling(addrs)
	if err := n.firewall.Set(n.steering(addrs)); err != nil {
		return fmt.Errorf("setting the %s rules: %w", n.firewall, err)
	}
	n.steered = slices.Clone(addrs)
	n.served = n.served || len(addrs) > 0
	if less {
		return n.setFallback(away)
	}
	return nil
}

// settleTime is for TCP connections to the cluster DNS that were in use when
// steering went on: only new connections are steered until then.
const settleTime = 3 * time.Second

func (n *Network) beginSettling(addrs []netip.Addr) {
	if added := without(addrs, n.steered); len(added) > 0 {
		n.settling, n.settled = slices.Concat(intersection(n.settling, addrs), added), time.Now().Add(settleTime)
	}
}

// Settle steers the rest of TCP a while after an address was steered first.
func (n *Network) Settle() error {
	if len(n.settling) == 0 || time.Now().Before(n.settled) {
		return nil
	}
	before := n.settling
	n.settling = nil
	err := n.inTurn(func() error { return n.firewall.Set(n.steering(n.steered)) })
	if err != nil {
		n.settling = before // to be tried again
	}
	return err
}

func (n *Network) steering(addrs []netip.Addr) Steering {
	return Steering{Addresses: n.cfg.Addresses, Steered: addrs, Settling: n.settling, Port: n.cfg.Port, HealthPort: n.cfg.HealthPort}
}

// setFallback gives the fallback up, with a warning, on a kernel that cannot do it.
func (n *Network) setFallback(away []netip.Addr) error {
	if n.fallback == nil {
		return nil
	}
	err := n.fallback.Set(away)
	if err != nil && n.fallback.watch.gen == 0 {
		n.warnings = append(n.warnings, fmt.Sprintf("No fallback: %v; while the cache is away nobody answers for %v, nor, where kube-proxy knows no cluster CIDR, the host's own queries", err, n.fallback.addresses()))
		n.fallback, err = nil, nil
	}
	return err
}

// Intact reports what somebody else changed of the rules, by the names of the
// objects; thorough may start processes.
func (n *Network) Intact(thorough bool) (broken []string, err error) {
	ok, err := n.firewall.Intact(thorough)
	if err == nil && !ok {
		broken = append(broken, "rules")
	}
	if n.fallback != nil {
		ok, ferr := n.fallback.Intact()
		if ferr == nil && !ok {
			broken = append(broken, "fallback")
		}
		err = errors.Join(err, ferr)
	}
	return broken, err
}

// Withdraw takes steering away for good, for all instances on the node, and
// keeps it away until Close. It waits for its turn and for the lock of other
// programs at most patience; without rules changed the addresses are taken
// away instead, which makes the rules inert.
func (n *Network) Withdraw(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := n.withdraw()
		if err == nil || time.Now().After(deadline) {
			if err != nil {
				n.gone = true
				err = errors.Join(err, n.link.Close())
			}
			return err
		}
		if _, err := n.Renew(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (n *Network) withdraw() error {
	if len(n.claims) == 1 {
		turn, err := takeTurn()
		if err != nil {
			return err
		}
		if turn == nil {
			return ErrTurn
		}
		n.claims = append(n.claims, turn)
	}
	return n.stepAside()
}

// stepAside takes steering off and has the host use another source address,
// unless another instance keeps this one. A dummy link would keep the changed
// route if the process died in between, so there the rules go first.
func (n *Network) stepAside() error {
	if !n.Alone() {
		return n.apply(nil)
	}
	steps := []func() error{n.link.Yield, func() error { return n.apply(nil) }}
	if l, ok := n.link.(*kernelLink); ok && l.kind() == Dummy {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Close takes everything away but the fallback table. The cache's servers must
// have stopped: answers that leave after their rules would be tracked. With
// other instances alive the rules are theirs now, and stay. keep leaves rules
// and, if it can outlive the process, the link.
func (n *Network) Close(keep bool) error {
	var errs []error
	if !keep && n.Alone() {
		errs = append(errs, n.removeRules())
	}
	if !keep || n.cfg.Link != Dummy {
		errs = append(errs, n.link.Close())
	}
	n.releaseAll()
	return errors.Join(errs...)
}

// removeRules leaves the fallback table if it is to stay.
func (n *Network) removeRules() error {
	err := n.firewall.Remove()
	if n.fallback != nil && len(n.FallbackAddresses()) == 0 {
		err = errors.Join(err, removeTables(fallbackTable, false, true))
	}
	return err
}

// FallbackAddresses returns the addresses that the fallback table answers for
// after Close. There are none if this process never steered and there was no
// table before: a start that failed leaves nothing.
func (n *Network) FallbackAddresses() []netip.Addr {
	if n.fallback == nil || !n.served && !n.found {
		return nil
	}
	return n.fallback.addresses()
}

// abandon undoes a failed Open; what a predecessor left of the fallback stays.
func (n *Network) abandon() error {
	var errs []error
	if n.link != nil {
		errs = append(errs, n.link.Close())
	}
	if n.firewall != nil && n.Alone() {
		errs = append(errs, n.removeRules())
	}
	n.releaseAll()
	return errors.Join(errs...)
}

func (n *Network) releaseAll() {
	if n.done != nil {
		close(n.done)
		n.done = nil
	}
	for _, c := range slices.Backward(n.claims) {
		c.release()
	}
	n.claims = nil
}

// watch subscribes to link and address changes, in place of an earlier subscription.
func (n *Network) watch() error {
	if n.done != nil {
		close(n.done)
	}
	done, lost := make(chan struct{}), make(chan struct{}, 1)
	n.done, n.lost = done, lost
	w := watcher{prefix: n.cfg.Interface, index: &n.index, addrs: n.cfg.Addresses, out: n.events}
	return w.start(done, func(error) {
		select {
		case lost <- struct{}{}: // or closed by us, and then nobody reads it
		default:
		}
	})
}

// linkName returns the name of this instance's link.
func (n *Network) linkName() string {
	if n.slot == 0 {
		return n.cfg.Interface
	}
	return n.cfg.Interface + strconv.Itoa(n.slot)
}
