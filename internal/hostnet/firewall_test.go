// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// variant puts iptables commands of one variant in front of PATH.
func variant(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			target, err := exec.LookPath(command + "-" + name + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dir, command+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock"))
}

// backends runs f in a namespace with each backend.
func backends(t *testing.T, f func(t *testing.T, fw Firewall)) {
	for _, name := range []string{"nft", "legacy"} {
		t.Run("iptables-"+name, func(t *testing.T) {
			inNamespace(t)
			variant(t, name)
			fw, err := newIPTables("", []bool{false, true})
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
		inNamespace(t)
		f(t, newNFTFirewall([]bool{false, true}))
	})
}

func set(t *testing.T, fw Firewall, s Steering) {
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
		set(t, fw, steering("169.254.20.10 fd00::10"))
		wantIntact(t, fw, true)
		others := [][]string{{"iptables", "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT"}, {"nft", "add table ip foreign"}, {"iptables", "-t", "filter", "-A", "INPUT", "-j", "ACCEPT"}}
		for _, c := range others {
			command(t, c[0], c[1:]...)
			wantIntact(t, fw, true)
		}
		breaks := [][]string{{"iptables", "-t", "raw", "-F"}, {"iptables", "-t", "raw", "-F", "NODELOCALDNS-PRE"}, {"ip6tables", "-t", "raw", "-D", "OUTPUT", "-j", "NODELOCALDNS-OUT"}, {"iptables", "-t", "filter", "-F"}}
		if fw.String() == NFTables {
			breaks = [][]string{{"nft", "flush chain ip6 nodelocaldns output"}, {"nft", "delete table ip nodelocaldns"}, {"nft", "flush ruleset"}}
		}
		for _, c := range breaks {
			command(t, c[0], c[1:]...)
			wantIntact(t, fw, false)
			set(t, fw, steering("169.254.20.10 fd00::10"))
			wantIntact(t, fw, true)
		}
	})
}

// Rules that go just after they were set, before they were read back, are not taken for right.
func TestTakenAwayWhileSetting(t *testing.T) {
	all := steering("169.254.20.10 fd00::10")
	backends(t, func(t *testing.T, fw Firewall) {
		flush := []string{"sh", "-c", "iptables -t raw -F; ip6tables -t raw -F"}
		if fw.String() == NFTables {
			flush = []string{"nft", "flush ruleset"}
		}
		set(t, fw, all)
		takenAway(t, flush, func() error { return fw.Set(all) }, func() (bool, error) { return fw.Intact(true) },
			func() string { return command(t, "sh", "-c", "nft list ruleset; iptables-save; ip6tables-save") })
	})
	t.Run("fallback", func(t *testing.T) {
		inNamespace(t)
		f := newFallback(testConfig())
		takenAway(t, []string{"nft", "flush ruleset"}, func() error { return f.Set(nil) }, f.Intact,
			func() string { return command(t, "nft", "list", "ruleset") })
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
		set(t, fw, steering("169.254.20.10"))
		if err := fw.Remove(); err != nil {
			t.Fatal(err)
		}
		if err := fw.Remove(); err != nil {
			t.Errorf("twice: %v", err)
		}
		for _, c := range []string{"iptables-save", "ip6tables-save", "nft list ruleset"} {
			if out := command(t, "sh", "-c", c); strings.Contains(strings.ToLower(out), "nodelocal") {
				t.Errorf("%s:\n%s", c, out)
			}
		}
	})
}

func TestFirewallReplacesReference(t *testing.T) {
	backends(t, func(t *testing.T, fw Firewall) {
		if fw.String() == NFTables {
			variant(t, "nft")
		}
		for _, c := range []string{"PREROUTING -d", "OUTPUT -s"} {
			command(t, "sh", "-c", fmt.Sprintf("iptables -t raw -I %s 169.254.20.10 -m comment --comment %q -j NOTRACK", c, commentSkip))
		}
		n := &Network{cfg: testConfig(), firewall: fw}
		if err := n.clearLeftovers(); err != nil {
			t.Fatal(err)
		}
		set(t, fw, steering(""))
		out := command(t, "iptables-save", "-t", "raw")
		if strings.Contains(out, "-A PREROUTING -d") || strings.Contains(out, "-A OUTPUT -s") {
			t.Errorf("left:\n%s", out)
		}
	})
}

func TestFirewallReportsTheLock(t *testing.T) {
	inNamespace(t)
	variant(t, "legacy")
	fw, err := newIPTables("", []bool{false})
	if err != nil {
		t.Fatal(err)
	}
	holdLock(t, os.Getenv("XTABLES_LOCKFILE"))
	if err := fw.Set(steering("")); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("got %v, want %v", err, ErrLocked)
	}
	if ok, _ := fw.Intact(false); ok {
		t.Error("rules that could not be set count as intact")
	}
}

// What nft lists is what the rules print as: the encoding says what is meant.
func TestNFTText(t *testing.T) {
	inNamespace(t)
	fw := newNFTFirewall([]bool{false, true})
	s := steering("169.254.20.10 fd00::10")
	s.Settling = addrsOf("fd00::10")
	set(t, fw, s)
	for _, six := range []bool{false, true} {
		var want []string
		for _, h := range []hook{rawPre, rawOut} {
			for _, r := range s.rules(six) {
				if r.hook == h {
					want = append(want, r.nft())
				}
			}
		}
		family := map[bool]string{false: "ip", true: "ip6"}[six]
		if got := ruleLines(command(t, "nft", "list", "table", family, steeringTable)); got != strings.Join(want, "\n") {
			t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
	}
}

func ruleLines(listing string) string {
	var out []string
	for line := range strings.Lines(listing) {
		if line = strings.TrimSpace(line); strings.Contains(line, "comment") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func TestFallbackText(t *testing.T) {
	inNamespace(t)
	f := newFallback(testConfig())
	shows := func(name string) {
		listing := command(t, "nft", "list", "table", "ip", fallbackTable) + command(t, "nft", "list", "table", "ip6", fallbackTable)
		golden(t, name, regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(listing, "    "))
	}
	for name, away := range map[string]string{"fallback.nft": "", "fallback-away.nft": "169.254.20.10 fd00::10"} {
		if err := f.Set(addrsOf(away)); err != nil {
			t.Fatal(err)
		}
		shows(name)
	}
	if err := f.Leave(); err != nil {
		t.Fatal(err)
	}
	shows("fallback-left.nft")
	cfg := testConfig()
	cfg.FallbackZone = 65532
	if err := newFallback(cfg).Set(nil); err != nil {
		t.Fatal(err)
	}
	listing := command(t, "nft", "list", "table", "ip", fallbackTable) + command(t, "nft", "list", "table", "ip6", fallbackTable)
	for _, part := range []string{"zone set 65532 ip daddr", "ct zone 65532 ip saddr", "zone set 65534 ip6 daddr", "ct zone 65534 ip6 saddr"} {
		if !strings.Contains(listing, part) {
			t.Errorf("no %q in:\n%s", part, listing)
		}
	}
	if strings.Contains(listing, "zone 2") || strings.Contains(listing, "zone set 2") {
		t.Errorf("rules of the default zone stay:\n%s", listing)
	}
	f = newFallback(testConfig())
	if err := f.Set(nil); err != nil {
		t.Fatal(err)
	}
	command(t, "nft", "flush", "chain", "ip", fallbackTable, "input")
	if ok, err := f.Intact(); ok || err != nil {
		t.Errorf("a flushed chain: got %v, %v", ok, err)
	}
}
