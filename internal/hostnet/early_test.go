// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// tables lists the fallback tables with the handles of their rules, which change when a rule is made anew.
func tables(t *testing.T) string {
	t.Helper()
	return nettest.Command(t, "nft", "-a", "list", "ruleset")
}

func early(t *testing.T, cfg Config) string {
	t.Helper()
	addrs, err := EarlyFallback(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(fmt.Sprint(addrs), "[]")
}

func TestEarlyFallback(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"both families", "169.254.20.10 fd00::10", func(*Config) {}},
		{"no rules, but a fallback", "169.254.20.10 fd00::10", func(c *Config) { c.Firewall = None }},
		{"one family", "169.254.20.10", func(c *Config) { c.Fallback = nettest.Addrs("10.96.0.11") }},
		{"none", "", func(c *Config) { c.Fallback = nil }},
		{"a Service's address only", "", func(c *Config) { c.Addresses = nettest.Addrs("10.96.0.10") }},
		{"what Open refuses", "", func(c *Config) { c.Fallback = nettest.Addrs("127.0.0.1") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nettest.InNamespace(t)
			cfg := testConfig()
			tc.change(&cfg)
			for range 2 {
				if got := early(t, cfg); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			}
			out := tables(t)
			if (out == "") != (tc.want == "") {
				t.Errorf("on the node:\n%s", out)
			}
			if n := strings.Count(out, "fib daddr type != local"); tc.want != "" && n == 0 || strings.Contains(out, "mark != 0x") {
				t.Errorf("it answers also while somebody has the addresses:\n%s", out)
			}
			if n := instance.Peers(-1); n != 0 {
				t.Error("it counts as an instance")
			}
		})
	}
}

// TestEarlyFallbackRemembers has clients in the table of an instance that was killed before it steered.
func TestEarlyFallbackRemembers(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	if err := n.Close(true); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	nettest.Command(t, "nft", "add", "element", "ip", fallback.Name, "moved", "{ 10.244.1.2 . 40000 }")
	if out := tables(t); !strings.Contains(out, "mark != 0x") {
		t.Fatalf("it does not answer in any case:\n%s", out)
	}
	early(t, testConfig())
	if out := tables(t); strings.Contains(out, "mark != 0x") || !strings.Contains(out, "10.244.1.2 . 40000") {
		t.Errorf("another form, or the clients forgotten:\n%s", out)
	}
}

// TestEarlyFallbackBesideAnInstance leaves the table of an instance that lives as it is, also while that one is leaving.
func TestEarlyFallbackBesideAnInstance(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	other := testConfig()
	other.Fallback, other.FallbackZone = nettest.Addrs("10.96.0.12"), 40
	unchanged := func(state string) {
		t.Helper()
		before := tables(t)
		for _, cfg := range []Config{testConfig(), other} {
			if got := early(t, cfg); got != "" {
				t.Errorf("%s: answers for %s", state, got)
			}
		}
		if after := tables(t); after != before {
			t.Errorf("%s: the table was\n%s\nand is\n%s", state, before, after)
		}
	}
	unchanged("it does not steer yet")
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	unchanged("it steers")
	if err := nft.RemoveTables(fallback.Name, family.Both...); err != nil {
		t.Fatal(err)
	}
	if got := early(t, testConfig()); got == "" {
		t.Error("none made beside an instance without one")
	}
	if err := n.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	unchanged("it leaves")
	closeNetwork(t, n)
}

// TestEarlyFallbackWithoutTurn has somebody hold the turn on a node without a table: nobody else makes it.
func TestEarlyFallbackWithoutTurn(t *testing.T) {
	nettest.InNamespace(t)
	turn, err := instance.TakeTurn()
	if turn == nil {
		t.Fatal(err)
	}
	defer turn.Release()
	if got := early(t, testConfig()); got != "169.254.20.10 fd00::10" {
		t.Errorf("answers for %q", got)
	}
}

// TestForeseenFallback comes to what another instance left: an order to leave, or a kill while it steered or before.
func TestForeseenFallback(t *testing.T) {
	steering := testConfig().Addresses
	for name, tc := range map[string]struct {
		differ  func(dead, flags *Config) // nil: both are testConfig
		away    []netip.Addr              // when the dead instance died; nil: it steered all
		rewrite bool
	}{
		"the same":                  {},
		"another target":            {differ: func(dead, _ *Config) { dead.Fallback = nettest.Addrs("10.96.0.12 fd00:96::c") }},
		"more addresses":            {differ: func(_, flags *Config) { flags.Addresses = nettest.Addrs("169.254.20.10") }},
		"another zone":              {differ: func(dead, _ *Config) { dead.FallbackZone = 40 }},
		"fewer addresses":           {differ: func(dead, _ *Config) { dead.Addresses = nettest.Addrs("169.254.20.10 10.96.0.10") }, rewrite: true},
		"another address":           {differ: func(dead, _ *Config) { dead.Addresses = nettest.Addrs("169.254.20.11 fd00::10 fd00:96::a") }, rewrite: true},
		"another port":              {differ: func(dead, _ *Config) { dead.Port = 54 }, rewrite: true},
		"killed before it steered":  {away: steering, rewrite: true},
		"killed, as one was away":   {away: steering[:1], rewrite: true},
		"answers, but not rewrites": {differ: func(dead, _ *Config) { dead.Fallback = nil }, rewrite: true},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.InNamespace(t)
			dead, cfg := testConfig(), testConfig()
			if tc.differ != nil {
				tc.differ(&dead, &cfg)
			}
			if err := newFallback(dead).Set(tc.away); err != nil {
				t.Fatal(err)
			}
			before := tables(t)
			got, err := ForeseenFallback(cfg)
			if want := newFallback(cfg).Addresses(); err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			after := tables(t)
			if (before != after) != tc.rewrite {
				t.Errorf("written anew: %t, want %t\n%s\nand then\n%s", before != after, tc.rewrite, before, after)
			}
			if _, err := EarlyFallback(cfg); err != nil || tables(t) == after {
				t.Errorf("what a stanza says is not written: %v", err)
			}
		})
	}
}

// TestForeseenFallbackFresh has no table to leave.
func TestForeseenFallbackFresh(t *testing.T) {
	nettest.InNamespace(t)
	if got, err := ForeseenFallback(testConfig()); err != nil || len(got) != 2 || !strings.Contains(tables(t), "ip daddr set 10.96.0.11") {
		t.Errorf("%v, %v, and on the node:\n%s", got, err, tables(t))
	}
}

// TestRemoveFallback takes a table away twice, and not beside an instance, nor while one is leaving.
func TestRemoveFallback(t *testing.T) {
	nettest.InNamespace(t)
	remove := func(state string, want bool) {
		t.Helper()
		if err := RemoveFallback(); err != nil {
			t.Errorf("%s: %v", state, err)
		}
		if got := !strings.Contains(tables(t), fallback.Name); got != want {
			t.Errorf("%s: removed %t", state, got)
		}
	}
	early(t, testConfig())
	remove("a table", true)
	remove("none", true)
	n := open(t, testConfig())
	remove("an instance", false)
	if err := n.Leave(quietly(time.Second)); err != nil {
		t.Fatal(err)
	}
	remove("it leaves", false)
	closeNetwork(t, n)
	remove("it has left", true)
}
