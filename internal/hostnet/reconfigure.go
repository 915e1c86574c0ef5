// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// Prepare makes the node ready for servers of another configuration to listen
// while those of the last one still run; Commit ends that. Addresses come and
// go without a change of the others' steering. Another link, firewall or port
// takes steering away first, calls drain, and leaves steering off.
func (n *Network) Prepare(cfg Config, drain func()) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	return n.inTurn(func() error { return n.prepare(cfg, drain) })
}

func (n *Network) prepare(cfg Config, drain func()) (err error) {
	old := n.cfg
	newLink := n.halfway || old.Link != cfg.Link || old.Interface != cfg.Interface
	newFirewall := n.halfway || old.Firewall != cfg.Firewall || !slices.Equal(family.Among(old.Addresses), family.Among(cfg.Addresses))
	if newLink || newFirewall || old.Port != cfg.Port {
		// Rules that cannot be read can be removed all the same, below.
		if err := n.applyAny(nil); err != nil && !(newFirewall && errors.As(err, new(xtables.UnreadableError))) {
			return err
		}
		if newLink && n.Alone() {
			if err := n.link.Yield(); err != nil {
				n.halfway = true
				return err
			}
		}
		drain()
	}
	defer func() {
		n.halfway = err != nil && (newLink || newFirewall)
		if err != nil {
			n.cfg = old
		}
	}()
	n.parting = without(slices.Concat(n.parting, old.Addresses), cfg.Addresses)
	n.cfg, n.fallback = cfg, newFallback(cfg)
	if newFirewall {
		if err := n.replaceFirewall(); err != nil {
			return err
		}
	}
	if err := errors.Join(n.clearFallback(), n.applyAny(intersection(n.steered, cfg.Addresses))); err != nil {
		return err
	}
	if newLink {
		if err := n.replaceLink(); err != nil {
			return err
		}
	}
	if err := n.watch(); err != nil {
		return err
	}
	_, err = n.Renew()
	return err
}

func (n *Network) replaceFirewall() error {
	f, err := n.openFirewall()
	if err != nil {
		return err
	}
	if err := n.whileRenewing(n.firewall.Remove); err != nil {
		return fmt.Errorf("removing the %s rules: %w", n.firewall, err)
	}
	n.firewall = f
	return nil
}

func (n *Network) replaceLink() error {
	if err := n.link.Close(); err != nil {
		return err
	}
	link, err := n.openLink()
	if err != nil {
		return err
	}
	n.link = link
	return nil
}

// Commit takes away what only the servers of the last configuration needed.
func (n *Network) Commit() error {
	if len(n.parting) == 0 {
		return nil
	}
	n.parting = nil
	_, err := n.Renew()
	return err
}

// Queued returns the bytes that wait, unread, in UDP sockets bound to the
// cache's addresses and port.
func (n *Network) Queued() (uint64, error) {
	all, err := sockets.List("udp")
	if err != nil {
		return 0, err
	}
	var queued uint64
	for _, s := range all {
		if s.Local.Port() == n.cfg.Port && slices.Contains(n.cfg.Addresses, s.Local.Addr()) {
			queued += s.Queue
		}
	}
	return queued, nil
}

func without(addrs, taken []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(taken, a) })
}

func intersection(a, b []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(a), func(x netip.Addr) bool { return !slices.Contains(b, x) })
}
