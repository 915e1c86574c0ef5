// SPDX-License-Identifier: Apache-2.0

package hostnet

import "errors"

// iptablesFirewall steers with iptables rules in chains of its own.
type iptablesFirewall struct {
	fams  []*iptablesFamily
	label string
}

type iptablesFamily struct {
	xtables
	watch  ruleWatch
	saved  string // what is relevant of iptables-save's output after the last change
	broken bool   // the rules are to be set (again): they changed, a change failed half way, or none was made yet
}

// A ruleWatch tells without a process whether somebody changed rules.
type ruleWatch interface {
	record() error
	intact() (bool, error)
}

// newIPTables fails if the commands of variant ("" is the plain ones) do not
// work in one of the families.
func newIPTables(variant string, fams []bool) (*iptablesFirewall, error) {
	f := &iptablesFirewall{}
	for _, six := range fams {
		x := xtables{six: six, variant: variant}
		legacy, err := x.legacy()
		if err != nil {
			return nil, err
		}
		if _, err := x.read(); err != nil {
			return nil, err
		}
		family := &iptablesFamily{xtables: x, broken: true}
		if legacy {
			f.label, family.watch = "iptables-legacy", &legacyWatch{six: six}
		} else {
			f.label, family.watch = "iptables-nft", xtablesNFTWatch(six)
		}
		f.fams = append(f.fams, family)
	}
	return f, nil
}

func (f *iptablesFirewall) String() string { return f.label }

func (f *iptablesFirewall) Set(s Steering) error {
	for _, family := range f.fams {
		if err := family.set(s); err != nil {
			return err
		}
	}
	return nil
}

func (f *iptablesFamily) set(s Steering) error {
	saved := f.saved
	if ok, err := f.watch.intact(); f.broken || !ok || err != nil {
		if saved, err = f.read(); err != nil {
			return err
		}
	}
	f.broken = true
	if err := f.restore(restoreInput(saved, s, f.six)); err != nil {
		return err
	}
	return f.confirm(s)
}

// confirm reads back what is right: every version of iptables prints its rules
// in its own way. If somebody has taken some away since they were set, the next
// look says so. It records before it reads, so that nothing changes in between.
func (f *iptablesFamily) confirm(s Steering) error {
	if err := f.watch.record(); err != nil {
		return err
	}
	saved, err := f.save()
	if errors.As(err, new(unreadableError)) {
		f.saved, f.broken = relevant(saved)+unseen(saved), false // the watch sees each rule of ours
		return nil
	}
	if err != nil {
		return err
	}
	f.saved = relevant(saved)
	f.broken = !complete(saved, s, f.six)
	return nil
}

// Intact asks the kernel whether anything changed; with thorough it runs
// iptables-save, twice a family, in any case.
func (f *iptablesFirewall) Intact(thorough bool) (bool, error) {
	for _, family := range f.fams {
		if ok, err := family.intact(thorough); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (f *iptablesFamily) intact(thorough bool) (bool, error) {
	if f.broken {
		return false, nil
	}
	ok, err := f.watch.intact()
	if ok && !thorough || err != nil {
		return ok, err
	}
	f.broken = true // until it was looked at, as the watch begins anew
	if err := f.watch.record(); err != nil {
		return false, err
	}
	saved, err := f.save()
	if ok && errors.As(err, new(unreadableError)) {
		f.broken = false // as in confirm
		return true, nil
	}
	if err != nil {
		return false, err
	}
	f.broken = ownLines(saved) != ownLines(f.saved)
	return !f.broken, nil
}

func (f *iptablesFirewall) Remove() error {
	var errs []error
	for _, family := range f.fams {
		family.broken = true
		saved, err := family.save()
		unreadable := errors.As(err, new(unreadableError))
		if unreadable && family.saved != "" {
			saved, err = family.saved, nil
		}
		if err == nil || unreadable {
			err = errors.Join(err, family.restore(removeInput(saved)))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// xtablesNFTWatch watches what iptables-nft keeps in nf_tables.
func xtablesNFTWatch(six bool) *nftWatch {
	w := &nftWatch{marker: chainPrefix}
	for _, h := range hooks {
		for _, chain := range []string{h.builtin(), h.chain()} {
			w.chains = append(w.chains, nftChain{family: nftFamily(six), table: h.table(), name: chain})
		}
	}
	return w
}
