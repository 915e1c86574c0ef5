// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrLocked says that another program held the xtables lock for too long; the
// change was not made and can be tried again.
var ErrLocked = errors.New("another program holds the xtables lock")

const (
	// lockWait is how long, in seconds, one iptables call waits for the lock:
	// short, because the self-queries are of the same goroutine.
	lockWait = "1"
	// execTimeout ends an iptables call that hangs.
	execTimeout = 10 * time.Second
)

// xtables is one variant (the plain commands', -nft or -legacy) for one family.
//
// The whole change of a family is one `iptables-restore --noflush`: atomic a
// table, one process, one wait for the lock. A library that runs `iptables`
// once a rule (github.com/coreos/go-iptables) takes 24 processes for the same
// and leaves what it did so far when one of them fails.
type xtables struct {
	six     bool
	variant string // "", "-nft" or "-legacy"
}

func (x xtables) command(suffix string) string {
	if x.six {
		return "ip6tables" + x.variant + suffix
	}
	return "iptables" + x.variant + suffix
}

// legacy reports whether the command is the one of the kernel's old interface.
func (x xtables) legacy() (bool, error) {
	out, err := run("", x.command(""), "--version")
	return !strings.Contains(out, "nf_tables"), err
}

// An unreadableError names a table in which somebody has put a rule that only
// nft can express: iptables-save prints a comment then, and no rule, ours
// neither, and succeeds; iptables-restore adds what it is told.
type unreadableError string

func (e unreadableError) Error() string {
	return fmt.Sprintf("iptables cannot read table %s, as it has a rule that only nft knows: move that to a table of its own, or use nftables", string(e))
}

// save returns the two tables as iptables-save prints them; with an
// unreadableError, what can be read.
func (x xtables) save() (string, error) {
	var saved strings.Builder
	var unreadable error
	for _, table := range []string{"raw", "filter"} {
		out, err := run("", x.command("-save"), "-t", table)
		if err != nil {
			return "", err
		}
		if strings.Contains(out, "' is incompatible, use 'nft' tool") {
			unreadable = fmt.Errorf("running %s: %w", x.command("-save"), unreadableError(table))
			continue
		}
		saved.WriteString(out)
	}
	return saved.String(), unreadable
}

// read is save, but for a table that iptables cannot read and in which, says
// nf_tables itself, is no rule of ours or of the reference: there is nothing to read.
func (x xtables) read() (string, error) {
	saved, unreadable := x.save()
	if !errors.As(unreadable, new(unreadableError)) {
		return saved, unreadable
	}
	c, err := nftDial()
	if err != nil {
		return saved, errors.Join(unreadable, err)
	}
	defer c.Close()
	for _, h := range hooks {
		if hasTable(saved, h.table()) {
			continue
		}
		for _, marker := range []string{chainPrefix, commentSkip, commentAllow} {
			rules, err := nftChain{family: nftFamily(x.six), table: h.table(), name: h.builtin()}.rules(c, marker)
			if len(rules) > 0 || err != nil {
				return saved, errors.Join(unreadable, err)
			}
		}
	}
	return saved, nil
}

func (x xtables) restore(input string) error {
	if input == "" {
		return nil
	}
	_, err := run(input, x.command("-restore"), "--noflush", "-w", lockWait)
	return err
}

// run runs a command of iptables and returns its standard output.
func run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	said := strings.Join(strings.Fields(stderr.String()), " ")
	if strings.Contains(said, "xtables lock") {
		err = ErrLocked
	} else if lacks := missingExtensions(said); len(lacks) > 0 {
		err = lackingError(fmt.Sprintf("the kernel lacks iptables' %s: load its modules, or use nftables", strings.Join(lacks, ", ")))
	} else if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return "", fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
}

var missingExtension = regexp.MustCompile(`Extension (\S+) .*?missing kernel module`)

// A lackingError names what the kernel has no module for.
type lackingError string

func (e lackingError) Error() string { return string(e) }

// missingExtensions reads from what iptables says which of its extensions the
// kernel has no module for.
func missingExtensions(said string) (names []string) {
	for _, m := range missingExtension.FindAllStringSubmatch(said, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

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
