// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Clear removes our rules and the reference's from every variant of iptables that is installed and in use, except
// from those that skip names. It returns an unreadableError if some are in a table of which it cannot take them out.
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
		if err := x.restore(input); err != nil {
			return removed, fmt.Errorf("removing leftover rules: %w", err)
		}
		removed = append(removed, fmt.Sprintf("%s rules", x.command("")))
	}
	return removed, unreadable
}

// installedXtables lists the variants whose tables exist: looking at one that is not in use would load its modules.
func installedXtables() []xtables {
	var out []xtables
	for _, fam := range family.Both {
		for _, variant := range []string{nftVariant, legacyVariant} {
			x := xtables{fam: fam, variant: variant}
			if _, err := exec.LookPath(x.command("-save")); err != nil {
				continue
			}
			if variant == nftVariant && nftHasXtables(fam) || variant == legacyVariant && legacyHasTables(fam) {
				out = append(out, x)
			}
		}
	}
	if len(out) == 0 {
		return plainXtables()
	}
	return out
}

// plainXtables is for systems whose iptables has no second name.
func plainXtables() []xtables {
	var out []xtables
	for _, fam := range family.Both {
		x := xtables{fam: fam}
		if _, err := exec.LookPath(x.command("-save")); err == nil && (nftHasXtables(fam) || legacyHasTables(fam)) {
			out = append(out, x)
		}
	}
	return out
}

func nftHasXtables(fam family.Family) bool {
	for _, table := range []string{"raw", "filter"} {
		if ok, err := nft.TableExists(fam, table); err == nil && ok {
			return true
		}
	}
	return false
}

func legacyHasTables(fam family.Family) bool { return len(legacyTables(fam)) > 0 }
