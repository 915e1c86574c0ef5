// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// clearLeftovers removes what dead predecessors left that Set will not replace:
// the other backend's rules, and tables of a family that is not used now.
func (n *Network) clearLeftovers() error {
	if err := n.clearFallback(n.cfg); err != nil {
		n.warnings = append(n.warnings, err.Error())
	}
	if n.cfg.Firewall == None {
		return nil
	}
	owned := func(f family.Family) bool { return n.firewall.Owns(NFTables, f) }
	if err := nft.RemoveTables(nftables.Table, slices.DeleteFunc(slices.Clone(family.Both), owned)...); err != nil {
		n.warnings = append(n.warnings, err.Error())
	}
	_, err := xtables.Clear(n.firewall.Owns)
	if errors.As(err, new(xtables.UnreadableError)) {
		n.warnings = append(n.warnings, fmt.Sprintf("Rules of an earlier cache stay: %v", err))
		err = nil
	}
	return err
}

// clearFallback removes the fallback tables of families that have none now.
func (n *Network) clearFallback(cfg Config) error {
	used := func(f family.Family) bool { return n.fallback != nil && len(f.Only(cfg.Addresses)) > 0 }
	return nft.RemoveTables(fallback.Name, slices.DeleteFunc(slices.Clone(family.Both), used)...)
}

// Cleanup removes all that a cache of ours or the reference may have left on the node, the fallback table included, and
// returns what it removed. It refuses while an instance lives, or a server at the addresses of the reference's link: that
// would notice a minute later.
func Cleanup(iface string) (removed []string, err error) {
	if err := checkCapability(Config{}); err != nil {
		return nil, err
	}
	if n := instance.Peers(-1); n > 0 {
		return nil, fmt.Errorf("%d running instance(s) hold this node's DNS: stop them first: %s", n, instance.PeerHolders(-1))
	}
	if server, err := served(iface); err != nil {
		return nil, err
	} else if server.IsValid() {
		return nil, fmt.Errorf("a server listens at %s, where link %s has its addresses: stop it first, or, if it has nothing to do with them, delete the link", server, iface)
	}
	names, reference := []string{iface}, ""
	for slot := 1; slot < instance.Max; slot++ {
		names = append(names, iface+strconv.Itoa(slot))
	}
	if strings.HasPrefix(iface, DefaultInterface) {
		reference = iface
	}
	removed, errs := link.RemoveLeftovers(names, reference)
	rules, err := xtables.Clear(func(string, family.Family) bool { return false })
	removed, errs = append(removed, rules...), append(errs, err)
	for _, t := range ownTables {
		for _, f := range t.fams {
			if ok, err := nft.TableExists(f, t.name); err == nil && ok {
				removed = append(removed, fmt.Sprintf("nftables table %s %s", f, t.name))
			}
		}
		errs = append(errs, nft.RemoveTables(t.name, t.fams...))
	}
	return removed, errors.Join(errs...)
}

// served returns a UDP socket that hears what is sent to the addresses of the dummy
// link of that name: at one of them, or at port 53 of all.
func served(iface string) (netip.AddrPort, error) {
	held, err := link.DummyAddresses(iface)
	if len(held) == 0 {
		return netip.AddrPort{}, err
	}
	all, err := sockets.List("udp")
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, s := range all {
		if s.Bound && (slices.Contains(held, s.Local.Addr()) || s.Local.Port() == 53 && s.Local.Addr().IsUnspecified()) {
			return s.Local, nil
		}
	}
	return netip.AddrPort{}, nil
}

// EarlyFallback makes the fallback table before an instance opens its network. The table has the form in which the last
// instance leaves it. It answers for the addresses that have nothing behind them, while no link of this host carries them. So
// another program's cache keeps its queries, and the addresses have DNS after a start that fails.
//
// EarlyFallback returns the addresses that the table answers for. There are none if cfg asks for no table, or if Open would
// refuse cfg; Open then returns the error.
//
// EarlyFallback does not touch the table of an instance that lives. It keeps the connections that a dead instance's table
// remembers.
func EarlyFallback(cfg Config) ([]netip.Addr, error) {
	return earlyFallback(cfg, func(*fallback.Table) bool { return false })
}

// ForeseenFallback is EarlyFallback before the configuration is read, for what may be less than that says. The table of a dead
// instance that answers for all addresses of cfg in that form stays as it is: it may have more of them, or another target.
func ForeseenFallback(cfg Config) ([]netip.Addr, error) {
	return earlyFallback(cfg, (*fallback.Table).IsLeft)
}

func earlyFallback(cfg Config, stays func(*fallback.Table) bool) ([]netip.Addr, error) {
	if cfg.Validate() != nil || checkCapability(cfg) != nil {
		return nil, nil
	}
	f := newFallback(cfg)
	if len(f.Addresses()) == 0 {
		return nil, nil
	}
	turn, err := instance.TakeTurn()
	if err != nil || turn == nil && fallback.Exists() {
		return nil, err // without an error: an instance is leaving, and makes the table
	}
	defer turn.Release()
	if instance.Peers(-1) > 0 && fallback.Exists() {
		return nil, nil
	}
	if !stays(f) {
		err = f.Leave()
	}
	if err != nil {
		return nil, err
	}
	return f.Addresses(), nil
}

// RemoveFallback takes the fallback table away, of whatever family, for a configuration that wants none. The table of an
// instance that lives, or that is leaving, stays.
func RemoveFallback() error {
	turn, err := instance.TakeTurn()
	if turn == nil {
		return err
	}
	defer turn.Release()
	if instance.Peers(-1) > 0 {
		return nil
	}
	return nft.RemoveTables(fallback.Name, family.Both...)
}
