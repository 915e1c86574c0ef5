// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Withdraw takes steering away for good, for all instances on the node, and
// keeps it away until Close. It waits for its turn and for the lock of other
// programs at most patience; without rules changed the addresses are taken
// away instead, which makes the rules inert. It calls waiting, with the reason,
// before each further attempt.
func (n *Network) Withdraw(patience time.Duration, waiting func(error)) error {
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
		waiting(err)
		_, _ = n.Renew() // of no use without the rules, and these are tried until the deadline
		time.Sleep(20 * time.Millisecond)
	}
}

func (n *Network) withdraw() error {
	if len(n.claims) == 1 {
		turn, err := n.takeTurn()
		if err != nil {
			return err
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
		if !n.served && !n.heard {
			return nil // the rules are the others'
		}
		return n.applyAny(nil)
	}
	steps := []func() error{n.link.Yield, func() error { return n.applyAny(nil) }}
	if n.link.OutlivesProcess() {
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
		if n.met {
			errs = append(errs, n.clearLeftovers())
		}
	}
	if !keep || !n.link.OutlivesProcess() {
		errs = append(errs, n.link.Close())
	}
	if !keep && n.Alone() && len(n.FallbackAddresses()) > 0 {
		errs = append(errs, n.fallback.Leave())
	}
	n.releaseAll()
	return errors.Join(errs...)
}

// removeRules leaves the fallback table if it is to stay.
func (n *Network) removeRules() error {
	err := errors.Join(n.firewall.Remove(), uplink.RemoveARP())
	if n.fallback != nil && len(n.FallbackAddresses()) == 0 {
		err = errors.Join(err, nft.RemoveTables(fallback.Name, family.Both...))
	}
	return err
}

// FallbackAddresses returns the addresses that the fallback table answers for
// after Close.
func (n *Network) FallbackAddresses() []netip.Addr {
	if n.fallback == nil {
		return nil
	}
	return n.fallback.Addresses()
}

// abandon undoes a failed Open but for the fallback table: where nothing is
// behind an address, a start that fails would leave it without DNS.
func (n *Network) abandon() error {
	var errs []error
	if n.link != nil {
		errs = append(errs, n.link.Close())
	}
	if n.firewall != nil && n.Alone() {
		errs = append(errs, n.removeRules())
	}
	if len(n.FallbackAddresses()) > 0 && n.Alone() {
		_ = n.fallback.Leave() // the error that led here says more
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
		c.Release()
	}
	n.claims = nil
}
