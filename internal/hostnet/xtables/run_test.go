// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// holdLock holds the xtables lock until it is released, or the test ends.
func holdLock(t *testing.T, file string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

func TestFirewallReportsTheLock(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Variant(t, "legacy")
	fw, err := New("", []family.Family{family.IPv4})
	if err != nil {
		t.Fatal(err)
	}
	holdLock(t, os.Getenv("XTABLES_LOCKFILE"))
	if err := fw.Set(wanted("")); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want %v", err, ErrLocked)
	}
	if ok, _ := fw.Intact(false); ok {
		t.Error("rules that could not be set count as intact")
	}
}

func TestMissingExtensions(t *testing.T) {
	said := "Warning: Extension CT revision 0 not supported, missing kernel module? Notice: The NOTRACK target is converted into CT target in rule listing and saving. " +
		"Warning: Extension NOTRACK is not supported, missing kernel module? Warning: Extension CT is not supported, missing kernel module? line 9: RULE_APPEND failed"
	if got := strings.Join(missingExtensions(said), " "); got != "CT NOTRACK" {
		t.Errorf("got %q", got)
	}
	if got := missingExtensions("iptables-restore v1.8.9 (nf_tables): unknown option"); got != nil {
		t.Errorf("got %q", got)
	}
}

// TestNotTheLock has commands end with the lock's exit status for other reasons.
func TestNotTheLock(t *testing.T) {
	for name, tc := range map[string]struct{ variant, lockFile, input, want string }{
		"no lock file":   {"-legacy", "/nonexistent/xtables.lock", "*raw\n:X - [0:0]\nCOMMIT\n", "can't open lock file"},
		"a rule refused": {"-nft", "", "*raw\n-A OUTPUT -j MASQUERADE\nCOMMIT\n", "RULE_APPEND failed"},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.InNamespace(t)
			t.Setenv("XTABLES_LOCKFILE", tc.lockFile)
			err := xtables{fam: family.IPv4, variant: tc.variant}.restore(tc.input)
			var exit *exec.ExitError
			if errors.Is(err, ErrLocked) || !errors.As(err, &exit) || exit.ExitCode() != resourceProblem || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want exit status %d and %s", err, resourceProblem, tc.want)
			}
		})
	}
}
