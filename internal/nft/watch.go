// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// An Chain names one chain in the kernel's nf_tables, iptables-nft's among them.
type Chain struct {
	Family      family.Family
	Table, Name string
	written     int // how many rules it was filled with, where all its rules count
}

// A Watch tells cheaply whether rules are still those that were recorded: one netlink message while nobody changes
// any rule of the network namespace, and a dump of few chains when somebody did. It starts no process.
type Watch struct {
	Chains []Chain
	// Marker, if set, selects the rules that contain it, and they are told by their handles: iptables' rules have
	// counters, so their content changes. Without it all rules count, and are told by their content, so that the same
	// rules set by another instance are the same.
	Marker string
	gen    uint32
	print  string // empty: not what it should be
}

// Record takes the rules as they stand for right, if they are as many as were written: somebody may have taken them
// away since, and the next look has to say so.
func (w *Watch) Record() error {
	gen, err := Generation()
	if err != nil {
		return err
	}
	print, whole, err := w.fingerprint()
	if err != nil {
		return err
	}
	w.gen, w.print = gen, print
	if !whole {
		w.print = ""
	}
	return nil
}

// Recorded reports whether the rules were ever recorded.
func (w *Watch) Recorded() bool { return w.gen != 0 }

// Intact reports whether the rules are as recorded; without a record they are not.
func (w *Watch) Intact() (bool, error) {
	gen, err := Generation()
	if err != nil || gen == w.gen && w.print != "" {
		return err == nil, err
	}
	print, _, err := w.fingerprint()
	if err != nil {
		return false, err
	}
	if print == w.print && print != "" {
		w.gen = gen
		return true, nil
	}
	return false, nil
}

// fingerprint describes the rules as they stand; whole says that they are as many as were written.
func (w *Watch) fingerprint() (print string, whole bool, err error) {
	var b strings.Builder
	whole = true
	for _, chain := range w.Chains {
		rules, err := chain.Rules(w.Marker)
		if err != nil {
			return "", false, fmt.Errorf("listing chain %s of table %s: %w", chain.Name, chain.Table, err)
		}
		fmt.Fprintf(&b, "%d %s %s %x\n", chain.Family, chain.Table, chain.Name, rules)
		whole = whole && (w.Marker != "" || len(rules) == chain.written)
	}
	return b.String(), whole, nil
}
