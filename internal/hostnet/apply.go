// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// A Change says what Apply did. It holds after an error, too.
type Change struct {
	Off      []netip.Addr // the steering of these addresses ended as the rules went
	Forsaken []netip.Addr // the steering of these addresses ended as the addresses went
	Drained  bool         // the queues were drained, as link, firewall or port changes
}

// Apply makes the node's network what w says. It returns ErrTurn or ErrLocked if that is to be tried again. Where the node is
// so already Apply does nothing.
//
// With another link, firewall or port the steering is off in the end, whatever w.Steered says. If the steering of an address is
// to end and the rules cannot be changed, the address leaves the link, which makes the rules inert, until an Apply succeeds or
// servers start. Apply does not do so with another configuration, nor while servers start: they need the addresses.
func (n *Network) Apply(w Want) (Change, error) {
	n.keepLease()
	h, now := n.have(), time.Now()
	c := h.change(w)
	if c.any {
		if err := w.Config.Validate(); err != nil {
			return Change{}, err
		}
	}
	steps, table := plan(h, w, now), n.fallback
	done, err := n.inTurn(steps)
	switch {
	case err == nil && (c.any || n.trust != halfway && changesRules(steps)):
		n.trust = sure
	case err == nil || errors.Is(err, ErrTurn):
	case !c.any && steps[done].verb == setLink: // the rules are as they should be; Renew tries again, and returns the error
		if n.trust != halfway && changesRules(steps) {
			n.trust = sure
		}
		err = nil
	case c.any:
		n.book, n.fallback = h.book.revert(n.book, now), table
		n.trust = max(n.trust, reverted)
		if slices.ContainsFunc(steps[:done], func(s step) bool { return s.verb == watchLink }) {
			_ = n.watch(n.cfg) // Renew tries again
		}
	case changesRules(steps):
		n.trust = max(n.trust, doubted)
		n.forsake(h, h.target(w, now), now)
	}
	out := changeOf(h.book, n.book)
	out.Drained = slices.ContainsFunc(steps[:done], func(s step) bool { return s.verb == drainQueues })
	return out, err
}

// inTurn is carryOut. Rules, which instances share, change only while this instance has the turn.
func (n *Network) inTurn(steps []step) (done int, err error) {
	if !changesRules(steps) {
		return n.carryOut(steps)
	}
	turn, err := n.takeTurn()
	if err != nil {
		return 0, err
	}
	defer turn.Release()
	return n.carryOut(steps)
}

func changesRules(steps []step) bool {
	return slices.ContainsFunc(steps, func(s step) bool { return s.verb == setRules })
}

// ErrTurn says that another instance on this node is leaving and has the turn: the rules, which are shared, must not change.
// Try again. TurnHolder says who that is.
var ErrTurn = errors.New("another instance on this node is leaving")

// TurnHolder says who holds the right to change the rules that instances share.
func TurnHolder() string { return instance.TurnHolder() }

// turnMemory is how long a failed attempt to take the turn is remembered. An
// instance that still wants the turn tries again within a second.
const turnMemory = 2 * time.Second

// A missedTurn is since when, and when last, another instance had the turn.
type missedTurn struct{ first, last time.Time }

// since returns since when another instance has had the turn at each attempt of this one. It is zero if the last attempt
// succeeded, or is long ago.
func (m missedTurn) since(now time.Time) time.Time {
	if now.Sub(m.last) > turnMemory {
		return time.Time{}
	}
	return m.first
}

// takeTurn returns ErrTurn if another instance has the turn, and notes it.
func (n *Network) takeTurn() (*instance.Claim, error) {
	turn, err := instance.TakeTurn()
	if turn != nil || err != nil {
		n.missed = missedTurn{}
		return turn, err
	}
	now := time.Now()
	if n.missed.since(now).IsZero() {
		n.missed.first = now
	}
	n.missed.last = now
	return nil, ErrTurn
}

// carryOut does steps until one fails, and returns how many it has done.
func (n *Network) carryOut(steps []step) (done int, err error) {
	if changesRules(steps) {
		defer n.forgetOwn()
	}
	for i, s := range steps {
		if err := n.do(s); err != nil {
			return i, err
		}
	}
	return len(steps), nil
}

// forgetOwn forgets the changes of nf_tables until now: this instance has made some.
func (n *Network) forgetOwn() { n.changes.Forget(n.changes.Seen()) }

// do does one step. The book follows when rules or link have.
func (n *Network) do(s step) error {
	switch s.verb {
	case setRules:
		return ruleError(n.setRules(s.to))
	case dropRules:
		err := n.setRules(s.to)
		if errors.As(err, new(xtables.UnreadableError)) {
			return nil
		}
		return ruleError(err)
	case setFallback:
		return ruleError(n.setFallback(s.to.away()))
	case yieldSource:
		n.trust = halfway // until all steps have succeeded: there is no way back for this link
		if !n.alone() {
			return nil // another instance keeps the addresses
		}
		return n.link.Yield()
	case drainQueues:
		n.drain()
		return nil
	case replaceFirewall:
		return ruleError(n.replaceFirewall(s.to.cfg))
	case renewFallback:
		n.fallback = newFallback(s.to.cfg)
		return ruleError(n.clearFallback(s.to.cfg))
	case replaceLink:
		return n.replaceLink(s.to.cfg)
	case watchLink:
		return n.watch(s.to.cfg)
	default: // setLink
		n.book = s.to // also if this fails: each renewal tries again
		_, err := n.Renew()
		return err
	}
}

func (n *Network) replaceFirewall(cfg Config) error {
	n.trust = halfway // until all steps have succeeded
	f, err := n.openFirewall(cfg)
	if err != nil {
		return err
	}
	if err := n.whileRenewing(n.firewall.Remove); err != nil {
		return fmt.Errorf("removing the %s rules: %w", n.firewall, err)
	}
	n.firewall = f
	return nil
}

func (n *Network) replaceLink(cfg Config) error {
	n.trust = halfway // until all steps have succeeded
	if err := n.link.Close(); err != nil {
		return err
	}
	l, err := n.openLink(cfg)
	if err == nil {
		n.link = l
	}
	return err
}

// forsake takes addresses off the link whose steering was to end.
func (n *Network) forsake(h have, to book, now time.Time) {
	if n.cfg.Link == None {
		return
	}
	n.book = n.book.after(now, stuck, func(a Address) bool {
		return slices.Contains(h.steered(), a.IP) && to.find(a.IP).State == Standing
	})
	_, _ = n.Renew() // the next call of Renew returns the error, and is soon enough
}

// changeOf compares two books.
func changeOf(before, after book) (out Change) {
	for _, ip := range before.addrs.In(Settling, Steered) {
		switch after.find(ip).State {
		case Settling, Steered:
		case Forsaken:
			out.Forsaken = append(out.Forsaken, ip)
		default:
			out.Off = append(out.Off, ip)
		}
	}
	return out
}

const (
	// drainMin and drainMax bound the time to answer what is queued after steering went off; the least is for packets that
	// were on their way.
	drainMin, drainMax = 100 * time.Millisecond, 2 * time.Second
	drainInterval      = 10 * time.Millisecond
)

// drain waits until the queries that have arrived are read.
func (n *Network) drain() {
	begin, empty := time.Now(), 0
	retry.Until(drainMax, drainInterval, func() bool {
		all, err := sockets.List("udp")
		queued := slices.ContainsFunc(all, func(s sockets.Socket) bool {
			return s.Queue > 0 && s.Local.Port() == n.cfg.Port && slices.Contains(n.cfg.Addresses, s.Local.Addr())
		})
		if empty++; err != nil || queued {
			empty = 0
		}
		return empty > 1 && time.Since(begin) >= drainMin
	})
}
