// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

const (
	nftVariant    = "-nft"
	legacyVariant = "-legacy"
)

// kubeletChains are what kubelet makes with the host's own iptables, so that others can tell which variant that is
// (KEP-3178).
var kubeletChains = []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"}

// HostVariant says which variant of iptables the host uses, for an image that has both, in the manner of
// kubernetes-sigs/iptables-wrappers: kubelet's hint, else the one with more rules. Where not both are installed it is
// "": the plain commands, and who installed them has chosen.
func HostVariant() string {
	for _, variant := range []string{nftVariant, legacyVariant} {
		if _, err := exec.LookPath("iptables" + variant + "-save"); err != nil {
			return ""
		}
	}
	for _, variant := range []string{nftVariant, legacyVariant} {
		if kubeletUses(variant) {
			return variant
		}
	}
	if countRules(legacyVariant) > countRules(nftVariant) {
		return legacyVariant
	}
	if _, err := nft.Generation(); err != nil {
		return legacyVariant // a kernel without nf_tables
	}
	return nftVariant
}

// kubeletUses reports whether kubelet's hint is in the mangle table of variant.
func kubeletUses(variant string) bool {
	return slices.ContainsFunc(family.Both, func(fam family.Family) bool {
		chains := xtables{fam: fam, variant: variant}.chains("mangle")
		return slices.ContainsFunc(kubeletChains, func(hint string) bool { return slices.Contains(chains, hint) })
	})
}

// countRules counts the rules of variant in all tables of both families. Ours do not count: an earlier start may have
// chosen the wrong variant.
func countRules(variant string) (n int) {
	for _, fam := range family.Both {
		x := xtables{fam: fam, variant: variant}
		if variant == legacyVariant && len(legacyTables(fam)) == 0 {
			continue
		}
		// Without -t only tables that exist are listed.
		saved, err := x.run("", "-save")
		if err != nil {
			continue
		}
		for line := range strings.Lines(saved) {
			if strings.HasPrefix(line, "-A ") && !strings.Contains(line, steering.ChainPrefix) {
				n++
			}
		}
	}
	return n
}

// legacyTables returns the names of the tables of the kernel's old interface that exist in this network namespace,
// and loads no module.
func legacyTables(fam family.Family) []string {
	// There is no file if the kernel has no such interface, or has not loaded its module.
	names, _ := os.ReadFile("/proc/thread-self/net/" + fam.String() + "_tables_names")
	return strings.Fields(string(names))
}

// ChainNames returns the names of the chains of a table, of both interfaces of the kernel; none that cannot be seen.
func ChainNames(fam family.Family, table string) []string {
	names, x := nft.ChainNames(fam, table), xtables{fam: fam, variant: legacyVariant}
	if _, err := exec.LookPath(x.command("-save")); err != nil && len(legacyTables(fam)) > 0 {
		x.variant = "" // not installed under a second name
		if legacy, err := x.legacy(); err != nil || !legacy {
			return names
		}
	}
	return append(names, x.chains(table)...)
}

// chains is ChainNames for one interface. It starts no process for nft's, nor for a table of the old one that is not
// there: to list it would load its module, and make it.
func (x xtables) chains(table string) (names []string) {
	if x.variant == nftVariant {
		return nft.ChainNames(x.fam, table)
	}
	if !slices.Contains(legacyTables(x.fam), table) {
		return nil
	}
	saved, _ := x.run("", "-save", "-t", table) // what cannot be listed has none
	for line := range strings.Lines(saved) {
		if name, ok := strings.CutPrefix(line, ":"); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	return names
}

// Clear removes our rules and the reference's from every variant of iptables that is installed and in use, except
// from those that skip names. It returns an UnreadableError if some are in a table of which it cannot take them out,
// and ErrLocked once a command has waited lockWait for the xtables lock in vain: the next call goes on from there.
func Clear(skip func(variant string, fam family.Family) bool) (removed []string, err error) {
	var unreadable error
	for _, x := range installedXtables() {
		if skip(x.variant, x.fam) {
			continue
		}
		saved, err := x.read()
		if errors.As(err, new(UnreadableError)) {
			unreadable = err
		} else if err != nil {
			continue // a table of this variant that cannot be listed has no rule of ours
		}
		input := removeInput(saved)
		if input == "" {
			continue
		}
		if err := x.removeEach(input); err != nil {
			return removed, fmt.Errorf("removing leftover rules: %w", err)
		}
		// A rule that the command prints and does not find counts as removed above.
		if saved, err := x.read(); err == nil && removeInput(saved) != "" {
			return removed, fmt.Errorf("removing leftover rules: %s has some still", x.command(""))
		}
		removed = append(removed, fmt.Sprintf("%s rules", x.command("")))
	}
	return removed, unreadable
}

// Look says which variants of iptables have rules of ours, or the reference's. It changes nothing.
func Look() (found []string) {
	for _, x := range installedXtables() {
		saved, err := x.read()
		switch {
		case errors.As(err, new(UnreadableError)):
			found = append(found, fmt.Sprintf("%s rules that cannot all be read: %v", x.command(""), err))
		case err == nil && removeInput(saved) != "":
			found = append(found, x.command("")+" rules")
		}
	}
	return found
}

// removeEach does one by one what removeInput returned: a rule that another program has removed meanwhile is no error.
// It begins nothing more after execTimeout. A command that hangs is not ended, as go-iptables bounds only the wait for
// the lock; but the same variant's iptables-save, which is ended, has just succeeded.
func (x xtables) removeEach(input string) error {
	begin, table := time.Now(), ""
	tool, err := iptables.New(iptables.Path(x.command("")), iptables.Timeout(lockWait))
	for line := range strings.Lines(input) {
		args := words(line)
		switch {
		case err != nil:
		case time.Since(begin) > execTimeout:
			err = fmt.Errorf("running %s takes longer than %s", x.command(""), execTimeout)
		case args[0] == "-D":
			err = tool.DeleteIfExists(table, args[1], args[2:]...)
		case args[0] == "-X":
			err = tool.ClearAndDeleteChain(table, args[1])
		case line[0] == '*':
			table = args[0][1:]
		}
	}
	var failed *iptables.Error
	if errors.As(err, &failed) && failed.ExitStatus() == resourceProblem && x.locks() {
		err = fmt.Errorf("running %s: %w", x.command(""), ErrLocked)
	} else if failed != nil {
		err = errors.New(strings.Join(strings.Fields(err.Error()), " ")) // it has several lines
	}
	return err
}

// installedXtables lists the variants whose tables exist: looking at one that is not in use would load its modules. The
// plain commands are for systems whose iptables has no second name.
func installedXtables() (out []xtables) {
	for _, variants := range [][]string{{nftVariant, legacyVariant}, {""}} {
		for _, fam := range family.Both {
			for _, variant := range variants {
				x := xtables{fam: fam, variant: variant}
				_, err := exec.LookPath(x.command("-save"))
				if err == nil && (variant != legacyVariant && nftHasTables(fam) || variant != nftVariant && len(legacyTables(fam)) > 0) {
					out = append(out, x)
				}
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

func nftHasTables(fam family.Family) bool {
	return slices.ContainsFunc([]string{"raw", "filter"}, func(table string) bool {
		ok, err := nft.TableExists(fam, table)
		return err == nil && ok
	})
}
