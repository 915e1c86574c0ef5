// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

func TestHostVariant(t *testing.T) {
	const (
		nftHint      = "iptables-nft -t mangle -N KUBE-IPTABLES-HINT"
		nftCanary    = "iptables-nft -t mangle -N KUBE-KUBELET-CANARY"
		legacyHint   = "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT"
		legacyCanary = "ip6tables-legacy -t mangle -N KUBE-KUBELET-CANARY"
		nftRule      = "iptables-nft -A FORWARD -p tcp -j ACCEPT"
		legacyRule   = "iptables-legacy -t nat -A POSTROUTING -j ACCEPT"
		legacyRule6  = "ip6tables-legacy -A FORWARD -j ACCEPT"
		ours         = "iptables-nft -t raw -N NODELOCALDNS-PRE; iptables-nft -t raw -A PREROUTING -j NODELOCALDNS-PRE; iptables-nft -t raw -A OUTPUT -j NODELOCALDNS-PRE"
	)
	for name, test := range map[string]struct {
		host []string
		want string
	}{
		"nothing":                             {nil, nftVariant},
		"hint in nft":                         {[]string{nftHint}, nftVariant},
		"hint in legacy":                      {[]string{legacyHint}, legacyVariant},
		"hint in legacy, rules in nft":        {[]string{nftRule, nftRule, legacyHint}, legacyVariant},
		"canary of IPv6 in legacy":            {[]string{legacyCanary}, legacyVariant},
		"canary in nft, firewalld in legacy":  {[]string{nftCanary, legacyRule, legacyRule, legacyRule6}, nftVariant},
		"hints in both":                       {[]string{legacyHint, nftHint}, nftVariant},
		"rules in legacy":                     {[]string{legacyRule}, legacyVariant},
		"rules of IPv6 in legacy":             {[]string{legacyRule6}, legacyVariant},
		"rules in nft":                        {[]string{nftRule}, nftVariant},
		"more rules in legacy":                {[]string{nftRule, legacyRule, legacyRule6}, legacyVariant},
		"as many rules in both":               {[]string{nftRule, legacyRule}, nftVariant},
		"rules in legacy, ours of old in nft": {[]string{legacyRule, ours}, legacyVariant},
		"tables of legacy without a rule":     {[]string{"iptables-legacy -t filter -L"}, nftVariant},
		"a chain named like a hint":           {[]string{legacyRule, "iptables-nft -t mangle -N MY-KUBE-IPTABLES-HINT"}, legacyVariant},
		"nftables rules that iptables cannot": {[]string{"nft 'add table ip filter; add chain ip filter x { type filter hook input priority 7; }; add rule ip filter x ip saddr { 10.0.0.1, 10.0.0.2 } accept'", legacyRule}, legacyVariant},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.InNamespace(t)
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
			for _, line := range test.host {
				nettest.Command(t, "sh", "-c", line)
			}
			nettest.ToolsOf(t, nftVariant, legacyVariant, "")
			if got := HostVariant(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Without both variants the plain commands are used, whatever the host has.
func TestHostVariantPlain(t *testing.T) {
	for _, variants := range [][]string{{""}, {"", nftVariant}, {"", legacyVariant}, {}} {
		t.Run("installed"+strings.Join(variants, ","), func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Command(t, "iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
			nettest.ToolsOf(t, variants...)
			if got := HostVariant(); got != "" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// To look is not to make: a table of the old interface costs each packet.
func TestHostVariantMakesNoLegacyTable(t *testing.T) {
	nettest.InNamespace(t)
	nettest.ToolsOf(t, nftVariant, legacyVariant)
	for range 2 {
		HostVariant()
		for _, f := range family.Both {
			if tables := legacyTables(f); len(tables) != 0 {
				t.Errorf("%s: made %q", f, tables)
			}
		}
	}
}
