// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// A RulesError is an error of the rules or of the fallback table.
type RulesError struct{ Err error }

// Error implements error.
func (e RulesError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e RulesError) Unwrap() error { return e.Err }

func ruleError(err error) error {
	if err == nil {
		return nil
	}
	return RulesError{err}
}

// setRules makes the rules those of the book. Where the choice is ours, nftables takes the place of an iptables whose commands
// work and whose rules the kernel has no modules for, or whose tables it cannot read any more.
func (n *Network) setRules(to book) error {
	if n.fallback == nil { // a step before may have given it up: nothing holds connections while an address settles
		to = to.after(time.Now(), whole, func(a Address) bool { return a.State == Settling })
	}
	_, _ = n.lookAtUplinks(to.cfg) // on an error the known uplinks stay; followUplinks returns the error
	n.setARP(to.cfg.Addresses)
	err := n.setFirewall(to)
	useless := errors.As(err, new(xtables.LackingError)) || errors.As(err, new(xtables.UnreadableError))
	if to.cfg.Firewall == Auto && useless && n.fallback != nil {
		err = n.replaceIPTables(to, err)
	}
	if err == nil {
		n.book = to
	}
	return err
}

func (n *Network) setFirewall(to book) error {
	s := to.steering()
	s.Uplinks = n.closed()
	if err := n.whileRenewing(func() error { return n.firewall.Set(s) }); err != nil {
		return fmt.Errorf("setting the %s rules: %w", n.firewall, err)
	}
	return nil
}

func (n *Network) replaceIPTables(to book, cause error) error {
	failed := n.firewall
	n.firewall = nftables.New(family.Among(to.cfg.Addresses))
	err := n.setFirewall(to)
	if failed.Remove() != nil { // what it did before it failed, if anything
		n.leftovers = true // Check tries again
	}
	if err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	n.warnings = append(n.warnings, noIPTables(cause))
	return nil
}

func noIPTables(err error) string {
	return fmt.Sprintf("No iptables (%v): using nftables; a firewall of the host's that drops has to accept DNS to the cache by itself", err)
}

// setFallback has the fallback table answer for addresses in any case. On a kernel that cannot have the table, setFallback gives
// the table up, with a warning.
func (n *Network) setFallback(away []netip.Addr) error {
	if n.fallback == nil {
		return nil
	}
	inherited := !n.fallback.WasSet() && fallback.Exists() // the table is a predecessor's
	err := n.fallback.Set(away)
	if err == nil || n.fallback.WasSet() || passing(err) {
		return err
	}
	if feature := fallback.Lacks(); feature != "" {
		err = fmt.Errorf("the kernel lacks %s", feature)
	}
	lost := "while the cache is away the host's own queries go unanswered where kube-proxy knows no cluster CIDR"
	if addrs := n.fallback.Addresses(); len(addrs) > 0 {
		lost = fmt.Sprintf("while the cache is away nobody answers for %v, nor, where kube-proxy knows no cluster CIDR, the host's own queries", addrs)
	}
	n.warnings = append(n.warnings, fmt.Sprintf("No fallback: %v; %s; TCP connections in use are reset when steering changes", err, lost))
	// In case only reading it back failed: it would go past the cache for ever.
	if inherited {
		_ = n.fallback.Leave()
	} else {
		_ = nft.RemoveTables(fallback.Name, family.Both...)
	}
	n.fallback = nil
	return nil
}

// passing reports whether an error of nf_tables says nothing of what the kernel can do, nor whether it made the change.
func passing(err error) bool {
	return slices.ContainsFunc([]error{os.ErrDeadlineExceeded, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.EBUSY},
		func(e error) bool { return errors.Is(err, e) })
}

// lookAtUplinks brings the uplinks up to date, and reports whether they have changed. There are none if the rules are somebody
// else's, or Config.Uplink is UplinkOpen.
func (n *Network) lookAtUplinks(cfg Config) (changed bool, err error) {
	var now []Uplink
	if cfg.Firewall != None && cfg.Uplink != UplinkOpen {
		if now, err = uplink.List(); err != nil {
			return false, err
		}
	}
	if len(now) == 0 && cfg.Uplink != UplinkOpen { // a default route that is gone for a moment is no reason to open the node
		now = slices.DeleteFunc(slices.Clone(n.uplinks), func(u Uplink) bool {
			_, err := netlink.LinkByName(u.Name)
			return err != nil
		})
	}
	changed = !slices.Equal(now, n.uplinks)
	n.uplinks = now
	return changed, nil
}

// closed returns the names of the uplinks that no pod comes in by.
func (n *Network) closed() (names []string) {
	for _, u := range n.uplinks {
		if u.Pods == "" {
			names = append(names, u.Name)
		}
	}
	return names
}

// setARP sets the ARP table for the present uplinks. If the kernel has nf_tables, but
// not for ARP, the node still answers, and one warning says so.
func (n *Network) setARP(addrs []netip.Addr) {
	err := uplink.RefuseARP(n.closed(), addrs)
	if err == nil {
		return
	}
	if _, lacks := nft.Generation(); lacks == nil { // without nf_tables there is another line
		n.arp.Do(func() {
			n.warnings = append(n.warnings, fmt.Sprintf("The node answers ARP for %v on %v: %v", family.IPv4.Only(addrs), n.closed(), err))
		})
	}
}
