// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
)

// Leaving says how Leave is done.
type Leaving struct {
	Patience time.Duration // for the turn, and for the locks of other programs
	Heard    bool          // this instance's servers have answered: they get a share of what is steered, whoever steers it
	Waiting  func(error)   // called, with the reason, before each further attempt
	Off      func()        // called when steering is off, before the queues are drained
}

// leaveInterval is the time between two attempts to take steering off.
const leaveInterval = 20 * time.Millisecond

// Leave takes steering off for good, for all instances on the node, and keeps it off until Close, as it holds the turn. If the
// rules cannot be changed within l.Patience Leave takes the addresses away instead, which makes the rules inert, and returns the
// error. Then it waits until the servers have read what has arrived.
func (n *Network) Leave(l Leaving) error {
	serves := len(n.steered()) > 0 || l.Heard
	var err error
	left := retry.Until(l.Patience, leaveInterval, func() bool {
		if err != nil {
			l.Waiting(err)
			_, _ = n.Renew() // of no use without the rules, and these are tried until the end
		}
		err = n.stepAside(serves)
		return err == nil
	})
	if !left {
		n.book = n.book.after(time.Now(), closed, all)
		err = errors.Join(err, n.link.Close())
	}
	l.Off()
	if serves {
		n.drain()
	}
	return err
}

// stepAside takes the turn, unless this instance has it, and steering off. Rules of others stay if this instance does not serve.
func (n *Network) stepAside(serves bool) (err error) {
	if n.turn == nil {
		if n.turn, err = n.takeTurn(); err != nil {
			return err
		}
	}
	alone := n.alone()
	if !alone && !serves {
		return nil
	}
	_, err = n.carryOut(planLeave(n.have(), alone, n.link.OutlivesProcess(), time.Now()))
	return err
}

// Close takes everything away but the fallback table. The cache's servers must have stopped: answers that leave after their
// rules would be tracked. With other instances alive the rules are theirs now, and stay. keep leaves rules and, if it can
// outlive the process, the link.
func (n *Network) Close(keep bool) error {
	var errs []error
	if !keep && n.alone() {
		errs = append(errs, n.removeRules())
		if n.leftovers {
			errs = append(errs, n.clearLeftovers())
		}
	}
	if !keep || !n.link.OutlivesProcess() {
		errs = append(errs, n.link.Close())
	}
	if !keep && n.alone() && len(n.fallback.Addresses()) > 0 {
		errs = append(errs, n.fallback.Leave())
	}
	n.release()
	return errors.Join(errs...)
}

// removeRules leaves the fallback table if it is to stay.
func (n *Network) removeRules() error {
	err := errors.Join(n.firewall.Remove(), uplink.RemoveARP())
	if n.fallback != nil && len(n.fallback.Addresses()) == 0 {
		err = errors.Join(err, nft.RemoveTables(fallback.Name, family.Both...))
	}
	return err
}

// abandon undoes a failed Open but for the fallback table: where nothing is
// behind an address, a start that fails would leave it without DNS.
func (n *Network) abandon() error {
	var errs []error
	if n.link != nil {
		errs = append(errs, n.link.Close())
	}
	if n.firewall != nil && n.alone() {
		errs = append(errs, n.removeRules())
	}
	if len(n.fallback.Addresses()) > 0 && n.alone() {
		_ = n.fallback.Leave() // the error that led here says more
	}
	n.release()
	return errors.Join(errs...)
}

// release ends the watch, and gives back the turn and then the name.
func (n *Network) release() {
	n.watcher.Stop()
	n.changes.Close()
	n.turn.Release()
	n.name.Release()
	n.watcher, n.changes, n.turn, n.name = nil, nil, nil, nil
}
