// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// A change that fails half way can be taken back, or made after all.
func TestPrepareFails(t *testing.T) {
	for _, tc := range []struct{ name, before, after string }{
		{"another family", "169.254.20.10", "169.254.20.10 fd00::10"},
		{"one address more", "169.254.20.10 fd00::10", "169.254.20.10 fd00::10 fd00::11"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nettest.InNamespace(t)
			old := testConfig()
			old.Addresses, old.Fallback = nettest.Addrs(tc.before), nettest.Addrs("10.96.0.11")
			n := open(t, old)
			if err := steerTo(n, old.Addresses); err != nil {
				t.Fatal(err)
			}
			age(n)
			if err := steerTo(n, n.steered()); err != nil {
				t.Fatal(err)
			}
			look := func() string {
				return nettest.Command(t, "ip", "-br", "addr") + nettest.RuleLines(nettest.Command(t, "nft", "list", "ruleset"))
			}
			before := look()
			links := []string{"nodelocaldns", "default"} // where a family is added, the link is made anew
			for _, link := range links {
				disableIPv6(t, link, "1")
			}
			cfg := old
			cfg.Addresses = nettest.Addrs(tc.after)
			if err := prepare(n, cfg); err == nil || !strings.Contains(err.Error(), "IPv6 disabled on this host") {
				t.Fatalf("got %v", err)
			}
			for _, link := range links {
				disableIPv6(t, link, "0")
			}
			if err := prepare(n, old); err != nil {
				t.Fatal(err)
			}
			if err := steerTo(n, old.Addresses); err != nil {
				t.Fatal(err)
			}
			age(n)
			if err := steerTo(n, n.steered()); err != nil {
				t.Fatal(err)
			}
			if after := look(); after != before {
				t.Errorf("before:\n%s\nwhen it was taken back:\n%s", before, after)
			}
			if err := prepare(n, cfg); err != nil {
				t.Fatal(err)
			}
			if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); strings.Count(out, "/128") != strings.Count(tc.after, "fd00") {
				t.Errorf("addresses: %s", out)
			}
			closeNetwork(t, n)
		})
	}
}

// A watch that has recorded nothing does not say that all is well: the rules may be a dead peer's.
func TestWatchWithoutRecord(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	defer closeNetwork(t, n)
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	joiner := open(t, testConfig())
	defer closeNetwork(t, joiner)
	if broken, err := joiner.intact(false); len(broken) != 2 || err != nil {
		t.Errorf("got %v, %v", broken, err)
	}
	if err := joiner.repair([]string{"rules"}); err != nil {
		t.Fatal(err)
	}
	if broken, err := joiner.intact(false); len(broken) != 0 || err != nil {
		t.Errorf("got %v, %v", broken, err)
	}
}
