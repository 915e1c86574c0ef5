// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clearLeftovers removes what dead predecessors left that Set will not replace:
// the other backend's rules, and tables of a family that is not used now.
func (n *Network) clearLeftovers() error {
	if err := n.clearFallback(); err != nil {
		n.warnings = append(n.warnings, err.Error())
	}
	if n.cfg.Firewall == None {
		return nil
	}
	if _, ok := n.firewall.(*nftFirewall); !ok {
		if err := removeTables(steeringTable, false, true); err != nil {
			n.warnings = append(n.warnings, err.Error())
		}
	}
	_, err := clearIPTables(func(x xtables) bool {
		f, ok := n.firewall.(*iptablesFirewall)
		return ok && slices.ContainsFunc(f.fams, func(own *iptablesFamily) bool {
			return own.six == x.six && (own.variant == x.variant || f.label == "iptables"+x.variant)
		})
	})
	if errors.As(err, new(unreadableError)) {
		n.warnings = append(n.warnings, fmt.Sprintf("Rules of an earlier cache stay: %v", err))
		err = nil
	}
	return err
}

// clearFallback removes the fallback tables of families that have none now.
func (n *Network) clearFallback() error {
	var unused []bool
	for _, six := range []bool{false, true} {
		if n.fallback == nil || !slices.Contains(families(n.cfg.Addresses), six) {
			unused = append(unused, six)
		}
	}
	return removeTables(fallbackTable, unused...)
}

// clearIPTables removes our rules and the reference's from every variant of
// iptables that is installed and in use, except from those that skip names. It
// returns an unreadableError if some are in a table of which it cannot take them out.
func clearIPTables(skip func(xtables) bool) (removed []string, err error) {
	var unreadable error
	for _, x := range installedXtables() {
		if skip(x) {
			continue
		}
		saved, err := x.read()
		if errors.As(err, new(unreadableError)) {
			unreadable = err
		} else if err != nil {
			continue // a table of this variant that cannot be listed has no rule of ours
		}
		input := removeInput(saved)
		if input == "" {
			continue
		}
		if err := x.restore(input); err != nil {
			return removed, fmt.Errorf("removing leftover rules: %w", err)
		}
		removed = append(removed, fmt.Sprintf("%s rules", x.command("")))
	}
	return removed, unreadable
}

// installedXtables lists the variants whose tables exist: looking at one that
// is not in use would load its modules.
func installedXtables() []xtables {
	var out []xtables
	for _, six := range []bool{false, true} {
		for _, variant := range []string{nftVariant, legacyVariant} {
			x := xtables{six: six, variant: variant}
			if _, err := exec.LookPath(x.command("-save")); err != nil {
				continue
			}
			if variant == nftVariant && nftHasXtables(six) || variant == legacyVariant && legacyHasTables(six) {
				out = append(out, x)
			}
		}
	}
	if len(out) == 0 {
		return plainXtables()
	}
	return out
}

// plainXtables is for systems whose iptables has no second name.
func plainXtables() []xtables {
	var out []xtables
	for _, six := range []bool{false, true} {
		x := xtables{six: six}
		if _, err := exec.LookPath(x.command("-save")); err == nil && (nftHasXtables(six) || legacyHasTables(six)) {
			out = append(out, x)
		}
	}
	return out
}

func nftHasXtables(six bool) bool {
	for _, table := range []string{"raw", "filter"} {
		if ok, err := nftTableExists(nftFamily(six), table); err == nil && ok {
			return true
		}
	}
	return false
}

func legacyHasTables(six bool) bool { return len(legacyTables(six)) > 0 }

// Cleanup removes all that a cache of ours or the reference may have left on
// the node, the fallback table included, and returns what it removed. It
// refuses while an instance lives, or a server at the addresses of the
// reference's link: that would notice a minute later.
func Cleanup(iface string) (removed []string, err error) {
	if err := checkCapability(Config{}); err != nil {
		return nil, err
	}
	if n := peers(-1); n > 0 {
		return nil, fmt.Errorf("%d running instance(s) hold this node's DNS: stop them first: %s", n, holders(peerNames(-1)))
	}
	if server, err := served(iface); err != nil {
		return nil, err
	} else if server.IsValid() {
		return nil, fmt.Errorf("a server listens at %s, where link %s has its addresses: stop it first, or, if it has nothing to do with them, delete the link", server, iface)
	}
	removed, errs := clearAllLinks(iface)
	rules, err := clearIPTables(func(xtables) bool { return false })
	removed, errs = append(removed, rules...), append(errs, err)
	if ok, err := nftTableExists(unix.NFPROTO_ARP, arpTable); err == nil && ok {
		removed = append(removed, "nftables table arp "+arpTable)
	}
	errs = append(errs, removeARP())
	for _, table := range []string{steeringTable, fallbackTable} {
		for _, six := range []bool{false, true} {
			if ok, err := nftTableExists(nftFamily(six), table); err == nil && ok {
				removed = append(removed, fmt.Sprintf("nftables table %s %s", map[bool]string{false: "ip", true: "ip6"}[six], table))
			}
		}
		errs = append(errs, removeTables(table, false, true))
	}
	return removed, errors.Join(errs...)
}

// served returns a UDP socket that hears what is sent to the addresses of the dummy
// link of that name: at one of them, or at port 53 of all.
func served(iface string) (netip.AddrPort, error) {
	link, err := netlink.LinkByName(iface)
	if errors.As(err, new(netlink.LinkNotFoundError)) || err == nil && link.Type() != "dummy" {
		return netip.AddrPort{}, nil
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("looking for link %s: %w", iface, err)
	}
	held, err := addresses(link)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listing the addresses of link %s: %w", iface, err)
	}
	if len(held) == 0 {
		return netip.AddrPort{}, nil
	}
	all, err := sockets("udp")
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, s := range all {
		ours := slices.ContainsFunc(held, func(a netlink.Addr) bool { return a.IP.Equal(s.local.Addr().AsSlice()) })
		if s.bound && (ours || s.local.Port() == 53 && s.local.Addr().IsUnspecified()) {
			return s.local, nil
		}
	}
	return netip.AddrPort{}, nil
}

// clearAllLinks removes leftover links of all instance numbers.
func clearAllLinks(iface string) (removed []string, errs []error) {
	names := []string{iface}
	for slot := 1; slot < maxInstances; slot++ {
		names = append(names, iface+strconv.Itoa(slot))
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, []error{fmt.Errorf("listing links: %w", err)}
	}
	for _, link := range links {
		name := link.Attrs().Name
		ours := link.Attrs().Alias == linkAlias
		if link.Type() != "dummy" || !ours && (name != iface || !strings.HasPrefix(name, DefaultInterface)) || ours && !slices.Contains(names, name) {
			continue
		}
		if err := netlink.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("removing link %s: %w", name, err))
			continue
		}
		removed = append(removed, "link "+name)
	}
	return removed, errs
}
