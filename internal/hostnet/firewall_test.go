// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// backends runs f in a namespace with each backend.
func backends(t *testing.T, f func(t *testing.T, fw Firewall)) {
	for _, name := range []string{"nft", "legacy"} {
		t.Run("iptables-"+name, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Variant(t, name)
			fw, err := xtables.New("", family.Both)
			if err != nil {
				t.Fatal(err)
			}
			if fw.String() != "iptables-"+name {
				t.Fatalf("got %s", fw)
			}
			f(t, fw)
		})
	}
	t.Run("nftables", func(t *testing.T) {
		nettest.InNamespace(t)
		f(t, nftables.New(family.Both))
	})
}

func set(t *testing.T, fw Firewall, s steering.Wanted) {
	t.Helper()
	if err := fw.Set(s); err != nil {
		t.Fatal(err)
	}
}

func wantIntact(t *testing.T, fw Firewall, want bool) {
	t.Helper()
	for _, thorough := range []bool{false, true} {
		if got, err := fw.Intact(thorough); got != want || err != nil {
			t.Errorf("thorough %v: got %v, %v, want %v", thorough, got, err, want)
		}
	}
}

func TestFirewallSeesWhatOthersDo(t *testing.T) {
	backends(t, func(t *testing.T, fw Firewall) {
		set(t, fw, wanted("169.254.20.10 fd00::10"))
		wantIntact(t, fw, true)
		others := [][]string{{"iptables", "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT"}, {"nft", "add table ip foreign"}, {"iptables", "-t", "filter", "-A", "INPUT", "-j", "ACCEPT"}}
		for _, c := range others {
			nettest.Command(t, c[0], c[1:]...)
			wantIntact(t, fw, true)
		}
		breaks := [][]string{{"iptables", "-t", "raw", "-F"}, {"iptables", "-t", "raw", "-F", "NODELOCALDNS-PRE"}, {"ip6tables", "-t", "raw", "-D", "OUTPUT", "-j", "NODELOCALDNS-OUT"}, {"iptables", "-t", "filter", "-F"}}
		if fw.String() == NFTables {
			breaks = [][]string{{"nft", "flush chain ip6 nodelocaldns output"}, {"nft", "delete table ip nodelocaldns"}, {"nft", "flush ruleset"}}
		}
		for _, c := range breaks {
			nettest.Command(t, c[0], c[1:]...)
			wantIntact(t, fw, false)
			set(t, fw, wanted("169.254.20.10 fd00::10"))
			wantIntact(t, fw, true)
		}
	})
}

// Rules that go just after they were set, before they were read back, are not taken for right.
func TestTakenAwayWhileSetting(t *testing.T) {
	all := wanted("169.254.20.10 fd00::10")
	backends(t, func(t *testing.T, fw Firewall) {
		flush := []string{"sh", "-c", "iptables -t raw -F; ip6tables -t raw -F"}
		if fw.String() == NFTables {
			flush = []string{"nft", "flush ruleset"}
		}
		set(t, fw, all)
		takenAway(t, flush, func() error { return fw.Set(all) }, func() (bool, error) { return fw.Intact(true) },
			func() string {
				return nettest.Command(t, "sh", "-c", "nft list ruleset; iptables-save; ip6tables-save")
			})
	})
	t.Run("fallback", func(t *testing.T) {
		nettest.InNamespace(t)
		f := newFallback(testConfig())
		takenAway(t, []string{"nft", "flush ruleset"}, func() error { return f.Set(nil) }, f.Intact,
			func() string { return nettest.Command(t, "nft", "list", "ruleset") })
	})
}

// takenAway sets the rules while another program takes them away, again and again. Whoever was the last, intact tells.
func takenAway(t *testing.T, flush []string, set func() error, intact func() (bool, error), rules func() string) {
	t.Helper()
	count := func() int {
		return len(regexp.MustCompile("NodeLocal DNS Cache|-j NODELOCALDNS-").FindAllString(rules(), -1))
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	whole, early, late, rounds := count(), 0, 0, 8
	if os.Getenv("NODELOCALDNS_EMULATED") != "" {
		rounds = 2
	}
	for range rounds {
		flushed := exec.Command(flush[0], flush[1:]...)
		if err := flushed.Start(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(set(), flushed.Wait()); err != nil {
			t.Fatal(err)
		}
		got, err := intact()
		if want := count() == whole; got != want || err != nil {
			t.Fatalf("intact: %t, %v; there are %d of %d rules", got, err, count(), whole)
		}
		if got {
			early++
		} else {
			late++
		}
	}
	t.Logf("taken away before the rules were set: %d times, after: %d", early, late)
}

func TestFirewallRemoveLeavesNothing(t *testing.T) {
	backends(t, func(t *testing.T, fw Firewall) {
		set(t, fw, wanted("169.254.20.10"))
		if err := fw.Remove(); err != nil {
			t.Fatal(err)
		}
		if err := fw.Remove(); err != nil {
			t.Errorf("twice: %v", err)
		}
		for _, c := range []string{"iptables-save", "ip6tables-save", "nft list ruleset"} {
			if out := nettest.Command(t, "sh", "-c", c); strings.Contains(strings.ToLower(out), "nodelocal") {
				t.Errorf("%s:\n%s", c, out)
			}
		}
	})
}

func TestFirewallReplacesReference(t *testing.T) {
	backends(t, func(t *testing.T, fw Firewall) {
		if fw.String() == NFTables {
			nettest.Variant(t, "nft")
		}
		for _, c := range []string{"PREROUTING -d", "OUTPUT -s"} {
			nettest.Command(t, "sh", "-c", fmt.Sprintf("iptables -t raw -I %s 169.254.20.10 -m comment --comment %q -j NOTRACK", c, steering.CommentSkip))
		}
		n := &Network{book: testBook(), firewall: fw}
		if err := n.clearLeftovers(); err != nil {
			t.Fatal(err)
		}
		set(t, fw, wanted(""))
		out := nettest.Command(t, "iptables-save", "-t", "raw")
		if strings.Contains(out, "-A PREROUTING -d") || strings.Contains(out, "-A OUTPUT -s") {
			t.Errorf("left:\n%s", out)
		}
	})
}

func TestHostVariantIsOpened(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Command(t, "iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
	nettest.ToolsOf(t, "-nft", "-legacy", "")
	cfg := testConfig()
	cfg.Firewall = Auto
	fw, err := (&Network{book: book{cfg: cfg}}).openFirewall(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if fw.String() != "iptables-legacy" {
		t.Errorf("got %s", fw)
	}
	set(t, fw, wanted("169.254.20.10 fd00::10"))
	wantIntact(t, fw, true)
}

// TestLeftoverOfAnotherFamily has an instance of both families be killed, and one of IPv4 only begin.
func TestLeftoverOfAnotherFamily(t *testing.T) {
	nettest.InNamespace(t)
	n := open(t, testConfig())
	if err := steerTo(n, testConfig().Addresses); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(true); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.Addresses, cfg.Fallback = family.IPv4.Only(cfg.Addresses), family.IPv4.Only(cfg.Fallback)
	n = open(t, cfg)
	if out := nettest.Command(t, "nft", "list", "tables"); strings.Contains(out, "ip6") || !strings.Contains(out, "table ip nodelocaldns\n") {
		t.Errorf("tables:\n%s", out)
	}
	closeNetwork(t, n)
}
