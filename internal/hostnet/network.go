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

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
)

// ErrTurn says that another instance on this node is leaving and does not want
// the shared rules changed; try again. TurnHolder says who that is.
var ErrTurn = errors.New("another instance on this node is leaving")

// A Network is the piece of the node's network that one cache owns. Its methods
// are for one goroutine.
type Network struct {
	cfg       Config
	parting   []netip.Addr // addresses of the last configuration whose servers still run
	slot      int
	claims    []*instance.Claim // the slot, and while leaving the turn
	link      link.Link
	firewall  Firewall
	fallback  *fallback.Table
	renewed   time.Time // when the last renewal of the lease began; zero: never
	repaired  bool      // the link was put back, and the caller does not know yet
	halfway   bool      // a change of link or firewall failed: neither is known to be what cfg says
	steered   []netip.Addr
	settling  []netip.Addr // of the steered
	settled   time.Time    // when the settling ends
	served    bool         // an address was steered once
	heard     bool         // the servers have answered once
	gone      bool         // the addresses were taken away for good
	forsaken  []netip.Addr // those taken away for want of a way to take the rules away
	met       bool         // there may be rules that Set does not replace, as of another instance that was here
	found     bool         // a fallback table was there before this instance set it
	missed    missedTurn   // the turn, while another instance keeps it from this one
	uplinks   []Uplink     // the interfaces of the default routes
	arpFailed bool         // the ARP table could not be set, and a warning said so
	warnings  []string
	events    chan Event
	done      chan struct{} // closes the watch
	lost      chan struct{}
	index     atomic.Int64 // of the link, for the watch
}

// A Firewall keeps the steering rules.
type Firewall interface {
	// Set makes the rules what s says, whatever was there before.
	Set(s steering.Wanted) error
	// Intact reports whether the rules are as Set left them; thorough may
	// start processes, otherwise it only asks the kernel.
	Intact(thorough bool) (bool, error)
	// Owns reports whether the rules of a family are in the tables of a backend: those
	// of NFTables, or of a variant of iptables ("-nft", "-legacy"; "" is the plain
	// commands).
	Owns(backend string, f family.Family) bool
	// Remove takes out all rules of ours.
	Remove() error
	// String returns the backend's name.
	String() string
}

// Open takes possession: leftovers of dead predecessors and of the reference
// go, the fallback answers, the link with its addresses comes. Steering is off.
// The order matters: an address without rules is safe, a rule without a server
// behind it is not. On an error nothing is left behind but the fallback table.
func Open(cfg Config) (*Network, error) {
	if err := errors.Join(cfg.Validate(), checkCapability(cfg)); err != nil {
		return nil, err
	}
	slot, c, err := instance.TakeSlot()
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, slot: slot, claims: []*instance.Claim{c}, events: make(chan Event, 1)}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	return n, nil
}

func (n *Network) open() (err error) {
	n.fallback, n.found = newFallback(n.cfg), fallback.Exists()
	if n.firewall, err = n.openFirewall(); err != nil {
		return err
	}
	if n.link, err = n.openLink(); err != nil {
		return err
	}
	if err := n.makeLink(); err != nil {
		return err
	}
	if n.Alone() {
		if err := errors.Join(n.clearLeftovers(), n.applyAny(nil)); err != nil {
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
func (n *Network) Alone() bool {
	alone := instance.Peers(n.slot) == 0
	n.met = n.met || !alone
	return alone
}

// Inherit removes, once after the last of the other instances has gone, what Set
// does not replace of theirs: one that was killed, or was not alone when it left,
// may have had another backend. Where updates surge, nobody starts alone.
func (n *Network) Inherit() error {
	if !n.met || !n.Alone() {
		return nil
	}
	return n.inTurn(func() error {
		if !n.Alone() {
			return nil // one that has come since
		}
		err := n.whileRenewing(n.clearLeftovers)
		n.met = err != nil
		return err
	})
}

// Heard notes that this instance's servers have answered: they get a share of
// what is steered to an address, whoever steers it.
func (n *Network) Heard() { n.heard = true }

// Forsake takes addresses away until the steering has been changed: rules that
// steer to them, and cannot be taken out, are inert then.
func (n *Network) Forsake(addrs []netip.Addr) error {
	n.forsaken = slices.Clone(addrs)
	_, err := n.Renew()
	return err
}

// Peers says who the other instances on this node are.
func (n *Network) Peers() string { return instance.PeerHolders(n.slot) }

// TurnHolder says who holds the right to change the rules that instances share.
func TurnHolder() string { return instance.TurnHolder() }

// Steered returns the addresses that DNS is steered to.
func (n *Network) Steered() []netip.Addr { return n.steered }

// Events returns a channel that tells when the link or an address of this or
// of another instance went.
func (n *Network) Events() <-chan Event { return n.events }

// Renew renews the addresses' lease; repaired says that the link had gone since
// the last call. An error may be of one address, while the others are renewed.
func (n *Network) Renew() (repaired bool, err error) {
	if n.gone {
		return false, nil
	}
	n.renewed = time.Now()
	back, err := n.link.Set(without(slices.Concat(n.cfg.Addresses, n.parting), n.forsaken), n.cfg.Lease)
	n.index.Store(int64(n.link.Index()))
	select {
	case <-n.lost:
		err = errors.Join(err, n.watch())
	default:
	}
	repaired, n.repaired = back || n.repaired, false
	return repaired, err
}

// KeepLease renews the lease if a quarter of it is over, for a caller that is
// between two steps which may take long on a slow or busy node. One that has run
// out stays so, as the rules have to go before such addresses come back.
func (n *Network) KeepLease() {
	if age := time.Since(n.renewed); age > n.cfg.Lease/4 && age < n.cfg.Lease {
		n.repaired, _ = n.Renew() // the next call tells, and is soon enough
	}
}

// Renewed returns when the addresses' lease was last renewed, or tried to be: a
// lease that is over since then ran out as this process did not run.
func (n *Network) Renewed() time.Time { return n.renewed }

// whileRenewing runs f, which must not touch the link, and keeps the lease
// meanwhile: on a slow or busy node the processes of iptables can take longer.
func (n *Network) whileRenewing(f func() error) error {
	if n.renewed.IsZero() || n.cfg.Lease == 0 {
		return f()
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(n.cfg.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			n.KeepLease()
		}
	}()
	err := f()
	close(done)
	<-stopped
	return err
}

// Intact reports what somebody else changed of the rules, by the names of the
// objects; thorough may start processes.
func (n *Network) Intact(thorough bool) (broken []string, err error) {
	err = n.whileRenewing(func() error {
		ok, err := n.firewall.Intact(thorough)
		if err == nil && !ok {
			broken = append(broken, "rules")
		}
		return err
	})
	if n.fallback != nil {
		ok, ferr := n.fallback.Intact()
		if ferr == nil && !ok {
			broken = append(broken, "fallback")
		}
		err = errors.Join(err, ferr)
	}
	return broken, err
}

// watch subscribes to link and address changes, in place of an earlier subscription.
func (n *Network) watch() error {
	if n.done != nil {
		close(n.done)
	}
	done, lost := make(chan struct{}), make(chan struct{}, 1)
	n.done, n.lost = done, lost
	w := link.Watcher{Prefix: n.cfg.Interface, Index: &n.index, Addresses: n.cfg.Addresses, Out: n.events}
	again := func(error) {
		select {
		case lost <- struct{}{}: // or closed by us, and then nobody reads it
		default:
		}
	}
	err := w.Start(done, again)
	if err != nil {
		again(err)
	}
	return err
}

// linkName returns the name of this instance's link.
func (n *Network) linkName() string {
	if n.slot == 0 {
		return n.cfg.Interface
	}
	return n.cfg.Interface + strconv.Itoa(n.slot)
}
