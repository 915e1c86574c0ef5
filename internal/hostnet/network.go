// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// A Network is the piece of the node's network that one cache owns. Its methods are for one goroutine at a time.
type Network struct {
	book      // the configuration and the states that were last set
	trust     trust
	leftovers bool // another backend may have rules of ours, which Set does not replace
	slot      int
	name      *instance.Claim // of the slot
	turn      *instance.Claim // from Leave to Close; nil: this instance does not hold the turn
	missed    missedTurn      // while another instance holds the turn
	peers     string          // who the other instances are; empty: there is none, or nobody has asked
	link      link.Link
	firewall  Firewall
	fallback  *fallback.Table // nil: there is none
	renewed   time.Time       // when the last renewal of the lease began; zero: there was none
	putBack   bool            // the link had gone, which Renew has still to report
	uplinks   []Uplink        // the interfaces of the default routes
	arp       sync.Once       // the log says that the ARP table could not be set
	changes   *nft.Changes    // who changed nf_tables since the last look; nil: nobody knows
	culprit   string          // who broke what Check could not put back yet; empty: nobody knows
	warnings  []string
	events    chan Event
	watcher   *link.Watcher // nil: nothing is watched
	index     atomic.Int64  // of the link, for the watcher
}

// A Firewall keeps the steering rules.
type Firewall interface {
	// Set makes the rules what s says, whatever was there before.
	Set(s steering.Wanted) error
	// Intact reports whether the rules are as Set left them; thorough may
	// start processes, otherwise it only asks the kernel.
	Intact(thorough bool) (bool, error)
	// Owns reports whether rules of a family in a backend, which is NFTables or a
	// variant of iptables (see xtables.Clear), are those that Set keeps.
	Owns(backend string, f family.Family) bool
	// Remove takes out all rules of ours.
	Remove() error
	// String returns the backend's name.
	String() string
}

// roomForEvents is as many events as come at once when somebody removes all addresses.
const roomForEvents = 8

// Open takes possession of the node's network. Open removes what dead predecessors and the reference left, sets the fallback table,
// and then puts the addresses on the link. It steers nothing: all addresses are standing. Addresses without rules do no harm; rules
// without a server would. After an error nothing is left but the fallback table.
func Open(cfg Config) (*Network, error) {
	if err := errors.Join(cfg.Validate(), checkCapability(cfg)); err != nil {
		return nil, err
	}
	slot, name, err := instance.TakeSlot()
	if err != nil {
		return nil, err
	}
	n := &Network{book: book{cfg: cfg}, slot: slot, name: name, events: make(chan Event, roomForEvents)}
	n.changes, _ = nft.NewChanges() // only the log is poorer without it
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	return n, nil
}

func (n *Network) open() (err error) {
	n.fallback = newFallback(n.cfg)
	if n.firewall, err = n.openFirewall(n.cfg); err != nil {
		return ruleError(err)
	}
	if n.link, err = n.openLink(n.cfg); err != nil {
		return err
	}
	if _, err := n.link.Set(nil, n.cfg.Lease); errors.Is(err, unix.EBUSY) {
		// A TUN link that another process keeps belongs to an instance that does not know of this one, and so do the rules.
		n.firewall, n.fallback = nil, nil // abandon leaves them alone
		return fmt.Errorf("%w: a process holds it that is no instance of this version: end it first (ps -C nodelocaldns)", err)
	} else if err != nil {
		return err
	}
	to := n.have().target(Want{Config: n.cfg}, time.Now())
	if n.alone() {
		if err := ruleError(n.clearLeftovers()); err != nil {
			return err
		}
		if _, err := n.carryOut(steer(n.book, to, setRules)); err != nil {
			return err
		}
	}
	n.book = to
	if _, err := n.Renew(); err != nil {
		return err
	}
	return n.watch(n.cfg)
}

// have returns what a plan starts from.
func (n *Network) have() have { return have{n.book, n.trust, n.fallback != nil} }

// A Status is a snapshot of a Network.
type Status struct {
	Addresses   Addresses
	Network     string    // the link and the firewall backend
	Link        string    // TUN, Dummy or None
	Firewall    string    // the backend: iptables-nft, iptables-legacy, nftables or None
	Renewed     time.Time // when the last renewal of the lease began. A lease that is over since then ran out as this process did not run.
	TurnAwaited time.Time // since when another instance has had the turn at each attempt of this one; zero: it has not
	Uplinks     []Uplink  // as last seen; none if the rules are somebody else's or Config.Uplink is UplinkOpen
	Fallback    []netip.Addr
	Warnings    []string // what a user should know; each is in one Status
}

// Status makes no system call. It works after Close, too: Fallback has the addresses that the fallback table answers for then.
func (n *Network) Status() Status {
	s := Status{
		Addresses: slices.Clone(n.addrs), Network: fmt.Sprintf("%s, %s", n.link, n.firewall), Renewed: n.renewed,
		Link: kind(n.cfg.Link, n.link), Firewall: kind(n.cfg.Firewall, n.firewall),
		TurnAwaited: n.missed.since(time.Now()), Uplinks: n.uplinks, Fallback: n.fallback.Addresses(), Warnings: n.warnings,
	}
	n.warnings = nil
	return s
}

// kind returns the kind of a link or firewall, which the text of each begins with, or None if the configuration wants none.
func kind(wanted string, what any) string {
	if wanted == None {
		return None
	}
	name, _, _ := strings.Cut(fmt.Sprint(what), " ")
	return name
}

// alone reports whether no other instance runs on this node.
func (n *Network) alone() bool {
	if instance.Peers(n.slot) == 0 {
		return true
	}
	n.leftovers = true
	return false
}

// Events returns a channel that gets an Event when the link or an address of this or of another instance has gone.
func (n *Network) Events() <-chan Event { return n.events }

// watch subscribes to link and address changes, in place of an earlier subscription.
func (n *Network) watch(cfg Config) error {
	n.watcher.Stop()
	n.watcher = &link.Watcher{Prefix: cfg.Interface, Index: &n.index, Addresses: cfg.Addresses, Out: n.events}
	return n.watcher.Start()
}

// checkCapability says in one line what every later step would say in its own way.
func checkCapability(cfg Config) error {
	if cfg.Link == None && cfg.Firewall == None && len(cfg.Fallback) == 0 {
		return nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("asking for this process's capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("CAP_NET_ADMIN is missing: run as root, or add NET_ADMIN to the container's capabilities")
	}
	return nil
}

// openFirewall chooses and probes the backend. In auto that is iptables where its commands work: there, and only there, an
// accept rule can be placed in the host's own firewall.
func (n *Network) openFirewall(cfg Config) (Firewall, error) {
	fams := family.Among(cfg.Addresses)
	switch cfg.Firewall {
	case None:
		return noFirewall{}, nil
	case NFTables:
		return nftables.New(fams), nil
	}
	f, err := xtables.New(xtables.HostVariant(), fams)
	if err == nil {
		return f, nil
	}
	if cfg.Firewall != Auto {
		return nil, err
	}
	if _, nftErr := nft.Generation(); nftErr != nil {
		return nil, errors.Join(err, nftErr)
	}
	if errors.As(err, new(xtables.UnreadableError)) {
		n.warnings = append(n.warnings, noIPTables(err))
	}
	return nftables.New(fams), nil
}

// noFirewall leaves the rules to somebody else.
type noFirewall struct{}

func (noFirewall) Set(steering.Wanted) error       { return nil }
func (noFirewall) Intact(bool) (bool, error)       { return true, nil }
func (noFirewall) Owns(string, family.Family) bool { return false }
func (noFirewall) Remove() error                   { return nil }
func (noFirewall) String() string                  { return "no rules" }

// openLink chooses the kind of link and checks that its name is free; it creates nothing.
func (n *Network) openLink(cfg Config) (link.Link, error) {
	name := cfg.Interface
	if n.slot > 0 {
		name += strconv.Itoa(n.slot)
	}
	l, warning, err := link.Open(cfg.Link, name, cfg.Addresses)
	if warning != "" {
		n.warnings = append(n.warnings, fmt.Sprintf("%s; after a crash DNS falls back within %s instead of at once", warning, cfg.Lease))
	}
	return l, err
}
