// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// tableIn moves the test to a network namespace of its own, and returns what lists the fallback table there.
func tableIn(t *testing.T) func() string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	return func() string {
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
}

// use makes n the process's node until the end of the test.
func use(t *testing.T, n *node) *node {
	old := theNode
	theNode = n
	t.Cleanup(func() { theNode = old })
	return n
}

// TestAbandon fails a start after each step: the fallback table is there as soon as somebody has said what for.
func TestAbandon(t *testing.T) {
	flags := hostnet.Config{Interface: "x", Link: hostnet.TUN, Firewall: hostnet.NFTables, Uplink: hostnet.UplinkAuto, Port: 53,
		Addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, Fallback: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, FallbackZone: 20}
	stanza := flags
	stanza.Fallback = []netip.Addr{netip.MustParseAddr("10.96.0.12")}
	none := hostnet.Config{Link: hostnet.None, Firewall: hostnet.None}
	says := func(c hostnet.Config, err error) func() (settings, error) {
		return func() (settings, error) { return settings{options: options{Config: c}}, err }
	}
	for name, tc := range map[string]struct {
		foreseen bool
		stanza   func() (settings, error)
		want     string // the target; empty: no table
	}{
		"nothing is known":             {false, nil, ""},
		"flags":                        {true, nil, "10.96.0.10"},
		"stanza":                       {false, says(stanza, nil), "10.96.0.12"},
		"flags, and another stanza":    {true, says(stanza, nil), "10.96.0.12"},
		"a stanza that cannot be used": {true, says(stanza, errors.New("not bound")), "10.96.0.10"},
		"a stanza that owns nothing":   {false, says(none, nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			table := tableIn(t)
			n := use(t, newNode(thisHost))
			if tc.foreseen {
				if err := Foresee(flags); err != nil || len(n.foreseen) != 1 {
					t.Fatalf("%v, %v", n.foreseen, err)
				}
			}
			n.parsed(tc.stanza)
			if err := Abandon(); err != nil {
				t.Fatal(err)
			}
			out := table()
			if got := strings.Contains(out, "daddr set "+tc.want); got != (tc.want != "") || tc.want == "" && out != "" {
				t.Errorf("want %q:\n%s", tc.want, out)
			}
		})
	}
}

// TestOwnsNothing starts with a stanza that owns nothing, after flags that stand for a table.
func TestOwnsNothing(t *testing.T) {
	flags := hostnet.Config{Interface: "x", Link: hostnet.TUN, Firewall: hostnet.NFTables, Uplink: hostnet.UplinkAuto, Port: 53,
		Addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, Fallback: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, FallbackZone: 20}
	none := settings{options: options{Config: hostnet.Config{Link: hostnet.None, Firewall: hostnet.None, Addresses: flags.Addresses}}}
	table := tableIn(t)
	n := use(t, newNode(thisHost))
	if err := Foresee(flags); err != nil || table() == "" {
		t.Fatalf("%v, or no table", err)
	}
	if err := n.start(none); err != nil {
		t.Fatal(err)
	}
	if out := table(); out != "" {
		t.Errorf("on the node:\n%s", out)
	}
	theNode = newNode(thisHost)
	if err := Foresee(flags); err != nil { // a table that is not of n's making
		t.Fatal(err)
	}
	theNode = n
	if err := errors.Join(n.start(none), Abandon()); err != nil || table() == "" {
		t.Errorf("%v, or somebody else's table has gone", err)
	}
}

// TestGuardEndsWithTheStanza reloads from a stanza that owns nothing to a configuration without one.
func TestGuardEndsWithTheStanza(t *testing.T) {
	n := use(t, newNode(thisHost))
	if err := n.start(settings{options: options{Config: hostnet.Config{Link: hostnet.None, Firewall: hostnet.None}}}); err != nil || n.unguard == nil {
		t.Fatalf("no guard, %v", err)
	}
	if err := errors.Join(n.take(restarts)(), n.take(ended)()); err != nil {
		t.Fatal(err)
	}
	if n.unguard != nil {
		n.unwatch()
		t.Error("the guard goes on")
	}
}

// TestNetworkError: a start tells whether the node is at fault, through what wraps the error.
func TestNetworkError(t *testing.T) {
	cause := errors.New("no such device")
	err := errors.Join(NetworkError{cause})
	if !errors.As(err, new(NetworkError)) || !errors.Is(err, cause) || err.Error() != cause.Error() {
		t.Errorf("got %v", err)
	}
}
