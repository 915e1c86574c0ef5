// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// others has rules of other programs, which come before and after ours, and jump to chains with names like ours.
const others = `
*raw
:MY-NODELOCALDNS-PRE - [0:0]
-A PREROUTING -j MY-NODELOCALDNS-PRE
-A OUTPUT -p udp -m comment --comment "NodeLocal DNS Cache: skip conntrack, says another" -j ACCEPT
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A INPUT -m comment --comment "a \"quote\"" -j KUBE-FIREWALL
COMMIT
`

// left has what an instance of ours leaves, one jump twice, and what the reference leaves.
const left = `
*raw
:NODELOCALDNS-PRE - [0:0]
:NODELOCALDNS-OUT - [0:0]
-I PREROUTING 1 -j NODELOCALDNS-PRE
-A PREROUTING -j NODELOCALDNS-PRE
-I OUTPUT 1 -j NODELOCALDNS-OUT
-A NODELOCALDNS-PRE -p udp -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-I PREROUTING 1 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
COMMIT
*filter
:NODELOCALDNS-IN - [0:0]
-I INPUT 1 -j NODELOCALDNS-IN
-A OUTPUT -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
COMMIT
`

func all(string, family.Family) bool { return false }

// leave makes a namespace in which one variant of iptables has rules, and both are installed.
func leave(t *testing.T, variant string, rules ...string) {
	t.Helper()
	nettest.InNamespace(t)
	nettest.ToolsOf(t, nftVariant, legacyVariant)
	for _, r := range rules {
		restored(t, variant, r)
	}
}

func restored(t *testing.T, variant, rules string) {
	t.Helper()
	for _, f := range family.Both {
		if err := (xtables{fam: f, variant: variant}).restore(rules); err != nil {
			t.Fatal(err)
		}
	}
}

// listed returns the rules of both families, without the counters and the time of day.
func listed(t *testing.T, variant string) string {
	t.Helper()
	var out strings.Builder
	for _, f := range family.Both {
		saved, err := xtables{fam: f, variant: variant}.save()
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(regexp.MustCompile(`(?m)^#.*\n| \[\d+:\d+\]$`).ReplaceAllString(saved, ""))
	}
	return out.String()
}

func TestClear(t *testing.T) {
	for _, variant := range []string{nftVariant, legacyVariant} {
		t.Run(variant, func(t *testing.T) {
			leave(t, variant, others)
			before := listed(t, variant)
			if removed, err := Clear(all); len(removed) > 0 || err != nil || listed(t, variant) != before {
				t.Errorf("nothing is left: removed %q, %v\n%s", removed, err, listed(t, variant))
			}
			restored(t, variant, left)
			full := listed(t, variant)
			if removed, err := Clear(func(v string, _ family.Family) bool { return v == variant }); len(removed) > 0 || err != nil || listed(t, variant) != full {
				t.Errorf("all is to be skipped: removed %q, %v\n%s", removed, err, listed(t, variant))
			}
			removed, err := Clear(all)
			if want := "iptables" + variant + " rules, ip6tables" + variant + " rules"; strings.Join(removed, ", ") != want || err != nil {
				t.Errorf("removed %q, %v, want %s", removed, err, want)
			}
			if after := listed(t, variant); after != before {
				t.Errorf("got:\n%s\nwant:\n%s", after, before)
			}
			if tables := legacyTables(family.IPv4); variant == nftVariant && len(tables) > 0 {
				t.Errorf("made %q of the old interface", tables)
			}
		})
	}
}

// TestClearMeanwhile has another program remove some of the rules between the look and the removal.
func TestClearMeanwhile(t *testing.T) {
	for _, variant := range []string{nftVariant, legacyVariant} {
		t.Run(variant, func(t *testing.T) {
			leave(t, variant, left)
			x := xtables{fam: family.IPv4, variant: variant}
			saved, err := x.read()
			if err != nil {
				t.Fatal(err)
			}
			nettest.Command(t, x.command(""), "-t", "raw", "-F", "OUTPUT")
			if err := x.removeEach(removeInput(saved)); err != nil {
				t.Error(err)
			}
			if saved, err := x.read(); removeInput(saved) != "" || err != nil {
				t.Errorf("left: %v\n%s", err, saved)
			}
		})
	}
}

// TestClearLocked has another program hold the xtables lock: Clear waits for it only to remove, and not long.
func TestClearLocked(t *testing.T) {
	leave(t, legacyVariant, others)
	release := holdLock(t, os.Getenv("XTABLES_LOCKFILE"))
	if removed, err := Clear(all); len(removed) > 0 || err != nil {
		t.Errorf("nothing is left: removed %q, %v", removed, err)
	}
	release()
	restored(t, legacyVariant, left)
	release = holdLock(t, os.Getenv("XTABLES_LOCKFILE"))
	full, begin := listed(t, legacyVariant), time.Now()
	removed, err := Clear(all)
	if took := time.Since(begin); took < lockWait*time.Second || took > 8*lockWait*time.Second {
		t.Errorf("it took %s", took)
	}
	if len(removed) > 0 || !errors.Is(err, ErrLocked) || listed(t, legacyVariant) != full {
		t.Errorf("removed %q, %v\n%s", removed, err, listed(t, legacyVariant))
	}
	release()
	if removed, err := Clear(all); len(removed) != 2 || err != nil {
		t.Errorf("the lock is free: removed %q, %v", removed, err)
	}
}

// TestClearRefused has the removal fail for other reasons than the lock.
func TestClearRefused(t *testing.T) {
	const jump = "*raw\n:MINE - [0:0]\n-A MINE -j NODELOCALDNS-PRE\nCOMMIT\n"
	for name, tc := range map[string]struct{ variant, rules, lockFile, want string }{
		"in use, nft":    {nftVariant, jump, "", "NODELOCALDNS-PRE --wait 1]: exit status 4: "},
		"in use, legacy": {legacyVariant, jump, "", "NODELOCALDNS-PRE --wait 1]: exit status 1: "},
		"no lock file":   {legacyVariant, "", "/nonexistent/xtables.lock", "open lock file /nonexistent/xtables.lock"},
	} {
		t.Run(name, func(t *testing.T) {
			leave(t, tc.variant, left, tc.rules)
			if tc.lockFile != "" {
				t.Setenv("XTABLES_LOCKFILE", tc.lockFile)
			}
			_, err := Clear(all)
			if err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, tc.want)
			}
		})
	}
	t.Run("no command", func(t *testing.T) {
		leave(t, nftVariant, left)
		path, err := exec.LookPath("iptables" + nftVariant)
		if err == nil {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Clear(all); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
