// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// table has an address with nothing behind it, and one of a Service's, of each family.
func table(zone uint16) *Table {
	return New(nettest.Addrs("169.254.20.10 10.96.0.10 fd00::10 fd00:96::a"), 53, nettest.Addrs("10.96.0.11 fd00:96::b"), zone)
}

func TestCoversOnlyAddressesWithNothingBehind(t *testing.T) {
	for _, tc := range []struct{ name, addrs, fallback, want string }{
		{"iptables mode", "169.254.20.10 10.96.0.10", "10.96.0.11", "169.254.20.10"},
		{"the Service itself", "169.254.20.10 10.96.0.10", "10.96.0.10", "169.254.20.10"},
		{"only the Service's address", "10.96.0.10", "10.96.0.11", ""},
		{"dual stack", "169.254.20.10 10.96.0.10 fd00::10 fd00:96::a", "10.96.0.11 fd00:96::b", "169.254.20.10 fd00::10"},
		{"dual stack, one local address", "169.254.20.10 10.96.0.10 fd00:96::a", "10.96.0.11 fd00:96::b", "169.254.20.10"},
		{"dual stack, IPVS mode", "169.254.20.10 fd00::10", "10.96.0.10 fd00:96::a", "169.254.20.10 fd00::10"},
		{"IPv6", "fd00::10 fd00:96::a", "fd00:96::b", "fd00::10"},
		{"IPv6, one address of the node's", "fd00::10", "fd00:96::b", "fd00::10"},
		{"IPv6, one address among Services", "fd00:96::a", "fd00:96::b", ""},
		{"IPv6 link-local", "fe80::10", "fd00:96::b", "fe80::10"},
		{"other family", "169.254.20.10", "fd00:96::b", ""},
		{"none", "169.254.20.10", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := New(nettest.Addrs(tc.addrs), 53, nettest.Addrs(tc.fallback), 20).Addresses()
			if want := nettest.Addrs(tc.want); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestText(t *testing.T) {
	nettest.InNamespace(t)
	f := table(20)
	shows := func(name string) {
		listing := nettest.Command(t, "nft", "list", "table", "ip", Name) + nettest.Command(t, "nft", "list", "table", "ip6", Name)
		nettest.Golden(t, name, regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(listing, "    "))
	}
	for name, away := range map[string]string{"fallback.nft": "", "fallback-away.nft": "169.254.20.10 fd00::10"} {
		if err := f.Set(nettest.Addrs(away)); err != nil {
			t.Fatal(err)
		}
		shows(name)
	}
	if err := f.Leave(); err != nil {
		t.Fatal(err)
	}
	shows("fallback-left.nft")
	f = New(nettest.Addrs("169.254.20.10 10.96.0.10 fe80::10 fd00:96::a fd00::10"), 53, nil, 20)
	if err := f.Set(nettest.Addrs("169.254.20.10")); err != nil {
		t.Fatal(err)
	}
	shows("fallback-none.nft")
	if err := table(65532).Set(nil); err != nil {
		t.Fatal(err)
	}
	listing := nettest.Command(t, "nft", "list", "table", "ip", Name) + nettest.Command(t, "nft", "list", "table", "ip6", Name)
	for _, part := range []string{"zone set 65532 ip daddr", "ct zone 65532 ip saddr", "zone set 65534 ip6 daddr", "ct zone 65534 ip6 saddr"} {
		if !strings.Contains(listing, part) {
			t.Errorf("no %q in:\n%s", part, listing)
		}
	}
	if strings.Contains(listing, "zone 2") || strings.Contains(listing, "zone set 2") {
		t.Errorf("rules of the default zone stay:\n%s", listing)
	}
	f = table(20)
	if err := f.Set(nil); err != nil {
		t.Fatal(err)
	}
	nettest.Command(t, "nft", "flush", "chain", "ip", Name, "input")
	if ok, err := f.Intact(); ok || err != nil {
		t.Errorf("a flushed chain: got %v, %v", ok, err)
	}
}
func TestNothingLacks(t *testing.T) {
	nettest.InNamespace(t)
	before := nettest.Command(t, "nft", "list", "ruleset")
	if lacks := Lacks(); lacks != "" {
		t.Errorf("this kernel lacks %s, and runs all other tests", lacks)
	}
	if after := nettest.Command(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("left behind:\n%s", after)
	}
}

// TestParseRewriteDamaged cuts a rule off at each byte.
func TestParseRewriteDamaged(t *testing.T) {
	nettest.InNamespace(t)
	if err := table(20).Leave(); err != nil {
		t.Fatal(err)
	}
	rules, err := nft.Chain{Family: family.IPv4, Table: Name, Name: "prerouting"}.Rules("")
	if err != nil || len(rules) == 0 {
		t.Fatalf("%d rules, %v", len(rules), err)
	}
	for _, rule := range rules {
		want, ok := parseRewrite(rule)
		for i := range rule {
			if got, cutOK := parseRewrite(rule[:i]); cutOK && (!ok || got.addr != want.addr) {
				t.Errorf("cut at %d: %+v, and whole %+v, %t", i, got, want, ok)
			}
		}
	}
}

// TestNothingBehindWithoutTarget has no Service's address of the cache's own family.
func TestNothingBehindWithoutTarget(t *testing.T) {
	for _, tc := range []struct{ name, addrs, target, want string }{
		{"link-local", "169.254.20.10 10.96.0.10", "", "169.254.20.10"},
		{"own IPv6 address", "fd00::10", "", "fd00::10"},
		{"own IPv6 address, IPv4 target", "fd00::10", "10.96.0.10", "fd00::10"},
		{"one of each family", "169.254.20.10 fd00::20:10", "10.96.0.10", "169.254.20.10 fd00::20:10"},
		{"dual stack by its ClusterIPs", "169.254.20.10 10.96.0.10 fd00:96::a", "10.96.0.10", "169.254.20.10"},
		{"all four", "169.254.20.10 10.96.0.10 fd00::10 fd00:96::a", "10.96.0.10", "169.254.20.10 fd00::10"},
		{"ClusterIPs alone", "10.96.0.10 fd00:96::a", "", ""},
	} {
		var target netip.Addr
		if tc.target != "" {
			target = netip.MustParseAddr(tc.target)
		}
		all := nettest.Addrs(tc.addrs)
		got := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !NothingBehind(a, all, target) })
		if !slices.Equal(got, nettest.Addrs(tc.want)) {
			t.Errorf("%s: got %v, want %s", tc.name, got, tc.want)
		}
	}
}
