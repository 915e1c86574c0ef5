// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	nftVariant    = "-nft"
	legacyVariant = "-legacy"
)

// kubeletChains are what kubelet makes with the host's own iptables, so that
// others can tell which variant that is (KEP-3178).
var kubeletChains = []string{":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "}

// hostVariant says which variant of iptables the host uses, for an image that
// has both, in the manner of kubernetes-sigs/iptables-wrappers: kubelet's hint,
// else the one with more rules. Where not both are installed it is "": the
// plain commands, and who installed them has chosen.
func hostVariant() string {
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
	nft, legacy := countRules(nftVariant), countRules(legacyVariant)
	if legacy > nft {
		return legacyVariant
	}
	if _, err := nftGeneration(); err != nil {
		return legacyVariant // a kernel without nf_tables
	}
	return nftVariant
}

// kubeletUses reports whether kubelet's hint is in the mangle table of variant.
func kubeletUses(variant string) bool {
	for _, six := range []bool{false, true} {
		x := xtables{six: six, variant: variant}
		if variant == legacyVariant && !slices.Contains(legacyTables(six), "mangle") {
			continue // to list it would load its module, and make it
		}
		saved, err := run("", x.command("-save"), "-t", "mangle")
		if err != nil {
			continue // what cannot be listed has no hint
		}
		for _, chain := range kubeletChains {
			if strings.Contains(saved, "\n"+chain) {
				return true
			}
		}
	}
	return false
}

// countRules counts the rules of variant in all tables of both families, but
// for ours: the variant that an earlier start chose is no reason to stay with it.
func countRules(variant string) (n int) {
	for _, six := range []bool{false, true} {
		x := xtables{six: six, variant: variant}
		if variant == legacyVariant && len(legacyTables(six)) == 0 {
			continue
		}
		// Without -t only tables that exist are listed.
		saved, err := run("", x.command("-save"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(saved) {
			if strings.HasPrefix(line, "-A ") && !strings.Contains(line, chainPrefix) {
				n++
			}
		}
	}
	return n
}

// legacyTables lists the tables of the kernel's old interface that exist in
// this network namespace, and loads no module.
func legacyTables(six bool) []string {
	file := "/proc/thread-self/net/ip_tables_names"
	if six {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	if err != nil {
		return nil // a kernel without it, or its module is not loaded
	}
	return strings.Fields(string(names))
}
