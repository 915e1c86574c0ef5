// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// write makes a table with one chain and as many rules.
func write(t *testing.T, w *Watch, rules int) {
	t.Helper()
	err := w.Write([]family.Family{family.IPv6}, "try", "a comment", (*Batch).ReplaceTable, func(table *Table) {
		table.Chain("pre", "filter", unix.NF_INET_PRE_ROUTING, -300)
		for range rules {
			table.Rule(Notrack())
		}
	})
	if err := errors.Join(err, w.Record()); err != nil {
		t.Fatal(err)
	}
}

// TestWatch has others change other rules, and ours.
func TestWatch(t *testing.T) {
	nettest.InNamespace(t)
	var w Watch
	if w.Recorded() {
		t.Error("recorded before anything was")
	}
	write(t, &w, 2)
	for _, step := range []struct {
		line string
		want bool
	}{
		{"nft add table ip foreign", true},
		{"nft add rule ip6 try pre accept", false},
		{"nft flush chain ip6 try pre", false},
		{"nft delete table ip6 try", false},
	} {
		if !nettest.Try(step.line) {
			t.Fatal(step.line)
		}
		if got, err := w.Intact(); got != step.want || err != nil {
			t.Errorf("%s: got %t, %v, want %t", step.line, got, err, step.want)
		}
	}
	write(t, &w, 3)
	if ok, err := w.Intact(); !ok || err != nil || !w.Recorded() {
		t.Errorf("written anew: %t, %v, recorded: %t", ok, err, w.Recorded())
	}
}

// TestTables looks at a table, its chain and its rules, and removes it twice.
func TestTables(t *testing.T) {
	nettest.InNamespace(t)
	var w Watch
	write(t, &w, 2)
	for f, want := range map[family.Family]bool{family.IPv4: false, family.IPv6: true, ARP: false} {
		if got, err := TableExists(f, "try"); got != want || err != nil {
			t.Errorf("family %s: %t, %v", f, got, err)
		}
	}
	if got := ChainNames(family.IPv6, "try"); !slices.Equal(got, []string{"pre"}) {
		t.Errorf("chains: %q", got)
	}
	for marker, want := range map[string]int{"": 2, "a comment": 2, "another": 0} {
		if rules, err := w.Chains[0].Rules(marker); len(rules) != want || err != nil {
			t.Errorf("with %q: %d rules, %v, want %d", marker, len(rules), err, want)
		}
	}
	for range 2 {
		if err := RemoveTables("try", family.Both...); err != nil {
			t.Error(err)
		}
	}
	if got, err := TableExists(family.IPv6, "try"); got || err != nil {
		t.Errorf("removed: %t, %v", got, err)
	}
	var b Batch
	b.DeleteTable(family.IPv6, "try")
	if err := b.Commit(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}
