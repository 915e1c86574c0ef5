// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Steer steers DNS to exactly addrs. Other instances' sockets get it too.
// It returns ErrTurn or ErrLocked if that is to be tried again.
func (n *Network) Steer(addrs []netip.Addr) error {
	return n.inTurn(func() error { return n.applyAny(addrs) })
}

// Repair puts back what another program changed of the objects that Intact
// named. Connections that went past the cache while rules were missing are left
// alone, as after Steer. Without the fallback table alone none did; left alone,
// those that began with the cache meanwhile would be reset.
func (n *Network) Repair(broken []string) error {
	return n.inTurn(func() error {
		if n.fallback != nil && slices.Contains(broken, "rules") {
			n.settling, n.settled = slices.Clone(n.steered), time.Now().Add(settleTime)
		}
		return n.applyAny(n.steered)
	})
}

// inTurn runs f while no other instance may change rules.
func (n *Network) inTurn(f func() error) error {
	turn, err := n.takeTurn()
	if err != nil {
		return err
	}
	defer turn.Release()
	return f()
}

// turnMemory is how long a failed attempt to take the turn is remembered. An
// instance that still wants the turn tries again within a second.
const turnMemory = 2 * time.Second

// A missedTurn is since when, and when last, another instance had the turn.
type missedTurn struct{ first, last time.Time }

// TakeTurn returns ErrTurn if another instance has the turn, and notes it.
func (n *Network) takeTurn() (*instance.Claim, error) {
	turn, err := instance.TakeTurn()
	if turn != nil || err != nil {
		n.missed = missedTurn{}
		return turn, err
	}
	now := time.Now()
	if now.Sub(n.missed.last) > turnMemory {
		n.missed.first = now
	}
	n.missed.last = now
	return nil, ErrTurn
}

// TurnAwaited returns since when another instance has had the turn at each attempt
// of this one. It is zero if the last attempt succeeded, or is long ago.
func (n *Network) TurnAwaited() time.Time {
	if time.Since(n.missed.last) > turnMemory {
		return time.Time{}
	}
	return n.missed.first
}

// apply sets steering and fallback in the order that loses nothing: the
// fallback first gives back what is about to be steered, and takes over last
// what was. Its target may be an address of the cache itself, the ClusterIP of
// kube-dns: what it rewrote has a connection tracking zone, so that NOTRACK
// leaves it alone (nft_notrack_eval, xt_CT) and kube-proxy maps it.
func (n *Network) apply(addrs []netip.Addr) error {
	_, _ = n.lookAtUplinks() // on an error the known uplinks stay; FollowUplinks returns the error
	n.setARP()
	away := without(n.cfg.Addresses, addrs)
	less := len(addrs) < len(n.steered)
	if !less {
		if err := n.setFallback(away); err != nil {
			return err
		}
	}
	n.beginSettling(addrs)
	if err := n.setFirewall(addrs); err != nil {
		return err
	}
	n.steered, n.forsaken = slices.Clone(addrs), nil
	n.served = n.served || len(addrs) > 0
	if less {
		return n.setFallback(away)
	}
	return nil
}

// beginSettling does nothing on a kernel without a fallback table, which holds
// what begins with the cache meanwhile: connections in use are reset once there.
func (n *Network) beginSettling(addrs []netip.Addr) {
	if n.fallback == nil {
		return
	}
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
	err := n.inTurn(func() error { return n.setFirewall(n.steered) })
	if err != nil {
		n.settling = before // to be tried again
	}
	return err
}

func (n *Network) setFirewall(addrs []netip.Addr) error {
	s := steering.Wanted{Addresses: n.cfg.Addresses, Steered: addrs, Settling: n.settling, Uplinks: n.closed(), Port: n.cfg.Port, HealthPort: n.cfg.HealthPort}
	if err := n.whileRenewing(func() error { return n.firewall.Set(s) }); err != nil {
		return fmt.Errorf("setting the %s rules: %w", n.firewall, err)
	}
	return nil
}

// setFallback gives the fallback up, with a warning, on a kernel that cannot do it.
func (n *Network) setFallback(away []netip.Addr) error {
	if n.fallback == nil {
		return nil
	}
	err := n.fallback.Set(away)
	if err != nil && !n.fallback.WasSet() && !passing(err) {
		if feature := fallback.Lacks(); feature != "" {
			err = fmt.Errorf("the kernel lacks %s", feature)
		}
		lost := "while the cache is away the host's own queries go unanswered where kube-proxy knows no cluster CIDR"
		if addrs := n.fallback.Addresses(); len(addrs) > 0 {
			lost = fmt.Sprintf("while the cache is away nobody answers for %v, nor, where kube-proxy knows no cluster CIDR, the host's own queries", addrs)
		}
		n.warnings = append(n.warnings, fmt.Sprintf("No fallback: %v; %s; TCP connections in use are reset when steering changes", err, lost))
		// In case only reading it back failed: it would go past the cache for ever.
		if n.found {
			_ = n.fallback.Leave()
		} else {
			_ = nft.RemoveTables(fallback.Name, family.Both...)
		}
		n.fallback, err = nil, nil
	}
	return err
}

// passing reports whether an error of nf_tables says nothing of what the kernel
// can do, nor whether it made the change.
func passing(err error) bool {
	return slices.ContainsFunc([]error{os.ErrDeadlineExceeded, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.EBUSY},
		func(e error) bool { return errors.Is(err, e) })
}
