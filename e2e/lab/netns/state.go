// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// State is what is configured in a namespace, as sorted lines. A line begins with what it is about: "link", "address", the
// command that saves an iptables rule, or "nft".
type State []string

var counters = regexp.MustCompile(`\[\d+:\d+\]|counter packets \d+ bytes \d+|packets \d+ bytes \d+`)

// State reads the namespace's links, addresses and rules of every backend. It leaves out empty tables and empty built-in
// chains: iptables makes them and never removes them.
func (n *Namespace) State(t testing.TB) State {
	t.Helper()
	var s State
	s = append(s, n.linkState(t)...)
	for _, command := range []string{"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		s = append(s, saved(command, n.Exec(t, "", command))...)
	}
	s = append(s, nftTables(n.Exec(t, "", "nft", "-t", "list", "ruleset"))...)
	slices.Sort(s)
	return s
}

func (n *Namespace) linkState(t testing.TB) []string {
	t.Helper()
	links, err := n.Netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Fatalf("listing links: %v", err)
	}
	var s []string
	for _, link := range links {
		name := link.Attrs().Name
		s = append(s, fmt.Sprintf("link %d %s type %s", link.Attrs().Index, name, link.Type()))
		addrs, err := n.Netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // the link went away meanwhile
		}
		for _, a := range addrs {
			s = append(s, fmt.Sprintf("address %s dev %s", a.IPNet, name))
		}
	}
	return s
}

// saved turns the output of iptables-save into lines that name their command and table.
func saved(command, text string) []string {
	var s []string
	table := ""
	for _, line := range strings.Split(text, "\n") {
		line = counters.ReplaceAllString(line, "")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "-"), strings.HasPrefix(line, ":") && strings.Contains(line, " - "):
			s = append(s, fmt.Sprintf("%s %s %s", command, table, strings.TrimSpace(line)))
		}
	}
	return s
}

// nftTables turns nft's listing into a line for each rule. It leaves out the tables of iptables-nft, since iptables-nft-save
// lists them.
func nftTables(text string) []string {
	var s []string
	table, chain := "", ""
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
		switch {
		case strings.HasPrefix(line, "table "):
			table, chain = strings.TrimSuffix(line, " {"), ""
			if !iptablesTable(table) {
				s = append(s, "nft "+table)
			}
		case strings.HasPrefix(line, "chain "):
			chain = strings.TrimSuffix(line, " {")
		case line == "" || line == "}" || strings.HasPrefix(line, "#") || iptablesTable(table):
		default:
			s = append(s, fmt.Sprintf("nft %s %s: %s", table, chain, line))
		}
	}
	return s
}

func iptablesTable(table string) bool {
	f := strings.Fields(table)
	return len(f) == 3 && slices.Contains([]string{"filter", "nat", "raw", "mangle", "security"}, f[2])
}

// Without is s without the lines that are also in other.
func (s State) Without(other State) State {
	var rest State
	for _, line := range s {
		if !slices.Contains(other, line) {
			rest = append(rest, line)
		}
	}
	return rest
}

// With is the lines of s that contain the text.
func (s State) With(text string) State {
	var found State
	for _, line := range s {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func (s State) String() string { return strings.Join(s, "\n") }

// Ruleset is nft's listing of all tables, with the handles of the rules. When a rule is replaced, its handle changes, even if
// its text does not.
func (n *Namespace) Ruleset(t testing.TB) string {
	t.Helper()
	return counters.ReplaceAllString(n.Exec(t, "", "nft", "-a", "-t", "list", "ruleset"), "")
}

// Lifetime is the time after which the kernel removes an address that nobody renews; 0 if the address is not there.
func (n *Namespace) Lifetime(t testing.TB, a netip.Addr) time.Duration {
	t.Helper()
	addrs, err := n.Netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatalf("listing addresses: %v", err)
	}
	for _, has := range addrs {
		if same(has.IP, a) {
			return time.Duration(has.ValidLft) * time.Second
		}
	}
	return 0
}
