// SPDX-License-Identifier: Apache-2.0

// Package xtables steers with iptables rules, of the plain commands or of one of their variants, nft and legacy.
package xtables

import (
	"errors"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// A Firewall steers with iptables rules in chains of its own.
type Firewall struct {
	fams  []*familyRules
	label string
}

// A familyRules is the rules of one family.
type familyRules struct {
	xtables
	watch ruleWatch
	saved string // what is relevant of iptables-save's output after the last change
	trust trust
}

// trust is what is known of the rules.
type trust uint8

const (
	doubted trust = iota // to be set (again): they changed, a change failed half way, or none was made yet
	right                // as they were set
)

// A ruleWatch tells without a process whether somebody changed rules.
type ruleWatch interface {
	Record() error
	Intact() (bool, error)
}

// Legacy is the name of a Firewall whose rules are not in nf_tables.
const Legacy = "iptables-legacy"

// New returns an error if the commands of variant ("" is the plain ones) do not work in one of the families.
func New(variant string, fams []family.Family) (*Firewall, error) {
	f := &Firewall{}
	for _, fam := range fams {
		x := xtables{fam: fam, variant: variant}
		legacy, err := x.legacy()
		if err != nil {
			return nil, err
		}
		if _, err := x.read(); err != nil {
			return nil, err
		}
		rules := &familyRules{xtables: x}
		if legacy {
			f.label, rules.watch = Legacy, &legacyWatch{fam: fam}
		} else {
			f.label, rules.watch = "iptables-nft", nftWatch(fam)
		}
		f.fams = append(f.fams, rules)
	}
	return f, nil
}

// String returns the name of the variant that is in use.
func (f *Firewall) String() string { return f.label }

// Set makes the rules of each family what s says. Each table changes at once.
func (f *Firewall) Set(s steering.Wanted) error {
	for _, rules := range f.fams {
		if err := rules.set(s); err != nil {
			return err
		}
	}
	return nil
}

func (f *familyRules) set(s steering.Wanted) error {
	saved := f.saved
	if ok, err := f.watch.Intact(); f.trust == doubted || !ok || err != nil {
		if saved, err = f.read(); err != nil {
			return err
		}
	}
	f.trust = doubted
	if err := f.restore(restoreInput(saved, s, f.fam)); err != nil {
		return err
	}
	return f.confirm(s)
}

// confirm reads back what was set, as every version of iptables prints its rules in its own way. It records before it
// reads. So a change in between, by another program, is seen by the next look.
func (f *familyRules) confirm(s steering.Wanted) error {
	if err := f.watch.Record(); err != nil {
		return err
	}
	saved, err := f.save()
	if errors.As(err, new(UnreadableError)) {
		f.saved, f.trust = relevant(saved)+unseen(saved), right // the watch sees each rule of ours
		return nil
	}
	if err != nil {
		return err
	}
	f.saved = relevant(saved)
	if complete(saved, s, f.fam) {
		f.trust = right
	}
	return nil
}

// Intact asks the kernel whether anything changed; with thorough it runs iptables-save, twice a family, in any case.
func (f *Firewall) Intact(thorough bool) (bool, error) {
	for _, rules := range f.fams {
		if ok, err := rules.intact(thorough); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (f *familyRules) intact(thorough bool) (bool, error) {
	if f.trust == doubted {
		return false, nil
	}
	ok, err := f.watch.Intact()
	if ok && !thorough || err != nil {
		return ok, err
	}
	f.trust = doubted // until it was looked at, as the watch begins anew
	if err := f.watch.Record(); err != nil {
		return false, err
	}
	saved, err := f.save()
	if ok && errors.As(err, new(UnreadableError)) {
		f.trust = right // as in confirm
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if ownLines(saved) != ownLines(f.saved) {
		return false, nil
	}
	f.trust = right
	return true, nil
}

// Owns reports whether the rules of a family are in the tables of variant.
func (f *Firewall) Owns(variant string, fam family.Family) bool {
	return slices.ContainsFunc(f.fams, func(own *familyRules) bool {
		return own.fam == fam && (own.variant == variant || f.label == "iptables"+variant)
	})
}

// Remove takes out our rules and the reference's.
func (f *Firewall) Remove() error {
	var errs []error
	for _, rules := range f.fams {
		rules.trust = doubted
		saved, err := rules.save()
		unreadable := errors.As(err, new(UnreadableError))
		if unreadable && rules.saved != "" {
			saved, err = rules.saved, nil
		}
		if err == nil || unreadable {
			err = errors.Join(err, rules.restore(removeInput(saved)))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// nftWatch watches what iptables-nft keeps in nf_tables.
func nftWatch(fam family.Family) *nft.Watch {
	w := &nft.Watch{Marker: steering.ChainPrefix}
	for _, h := range steering.Hooks {
		for _, chain := range []string{h.Builtin, h.Chain} {
			w.Chains = append(w.Chains, nft.Chain{Family: fam, Table: h.Table, Name: chain})
		}
	}
	return w
}
