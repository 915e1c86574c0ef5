// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// tools are the programs that the lab runs, beside the ones under test. All are in the packages iptables, nftables and
// util-linux of Debian and its like.
var tools = []string{
	"iptables-nft", "iptables-nft-restore", "iptables-nft-save", "ip6tables-nft-restore", "ip6tables-nft-save",
	"iptables-legacy", "iptables-legacy-restore", "iptables-legacy-save", "ip6tables-legacy-restore", "ip6tables-legacy-save",
	"xtables-nft-multi", "xtables-legacy-multi", "nft", "setpriv",
}

// Require skips the test if the process is not root or a tool is missing. With NODELOCALDNS_E2E=required it fails the test
// instead.
func Require(t testing.TB) {
	t.Helper()
	err := possible()
	switch {
	case err == nil:
	case os.Getenv("NODELOCALDNS_E2E") == "required":
		t.Fatalf("NODELOCALDNS_E2E=required, but %v", err)
	default:
		t.Skipf("skipped: %v", err)
	}
}

func possible() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("network namespaces need root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed", tool)
		}
	}
	return nil
}
