// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Clear removes our rules and the reference's from every variant of iptables that is installed and in use, except
// from those that skip names. It returns an UnreadableError if some are in a table of which it cannot take them out.
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
