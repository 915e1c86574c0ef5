// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// holdLock holds the xtables lock until the test ends.
func holdLock(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

func TestFirewallReportsTheLock(t *testing.T) {
	nettest.InNamespace(t)
	nettest.Variant(t, "legacy")
	fw, err := New("", []family.Family{family.IPv4})
	if err != nil {
		t.Fatal(err)
	}
	holdLock(t, os.Getenv("XTABLES_LOCKFILE"))
	if err := fw.Set(wanted("")); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
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
