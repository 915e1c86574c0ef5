// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// A Kernel lacks some modules. It has what the program under test says about that at its start.
type Kernel struct {
	Name    string
	Without []string // patterns of the names of modules
	Proxy   Backend  // of kube-proxy, which has to run on this kernel
	Warns   []string // the beginnings of the warnings, each of which comes once
	Ends    string   // the beginning of the one line of error, if the program cannot run there
}

// Kernels are those that users may have. The first kernel lacks nothing.
var Kernels = []Kernel{
	{Name: "complete", Proxy: IPTablesNFT},
	{Name: "no TUN", Without: []string{"tun"}, Proxy: IPTablesNFT, Warns: []string{
		"No /dev/net/tun (opening /dev/net/tun: no such file or directory): using a dummy link; after a crash DNS falls back within 3s instead of at once",
	}},
	{Name: "no TUN, no dummy", Without: []string{"tun", "dummy"}, Proxy: IPTablesNFT, Ends: "nodelocaldns: plugin/nodelocal: no kind of link works"},
	{Name: "no nf_tables", Without: []string{"nf_tables", "nft_*", "nf_tables_*"}, Proxy: IPTablesLegacy, Warns: []string{
		"No fallback: the kernel lacks nf_tables; while the cache is away nobody answers for [169.254.20.10 fd00:20::10], nor",
	}},
	{Name: "no nft_fib", Without: []string{"nft_fib*"}, Proxy: IPTablesNFT, Warns: []string{
		"No fallback: the kernel lacks nft_fib (nft_fib_ipv4); while the cache is away nobody answers for [169.254.20.10 fd00:20::10], nor",
	}},
	{Name: "no iptables", Without: []string{"ip_tables", "ip6_tables", "iptable_*", "ip6table_*", "nft_compat"}, Proxy: NFTables, Warns: []string{
		"No iptables (setting the iptables-nft rules: running iptables-nft-restore --noflush -w 1: the kernel lacks iptables' ",
	}},
	{Name: "no addrtype", Without: []string{"xt_addrtype"}, Proxy: IPTablesNFT, Warns: []string{
		"No iptables (setting the iptables-nft rules: running iptables-nft-restore --noflush -w 1: the kernel lacks iptables' addrtype: load its " +
			"modules, or use nftables): using nftables; a firewall of the host's that drops has to accept DNS to the cache by itself",
	}},
}

// NeedsKernel skips the test if err, which says what the kernel lacks, is not nil. With NODELOCALDNS_KERNEL=complete it fails
// the test instead.
func NeedsKernel(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("NODELOCALDNS_KERNEL") == Kernels[0].Name:
		t.Fatalf("NODELOCALDNS_KERNEL=complete, but %v", err)
	default:
		t.Skipf("skipped on this kernel, make e2e-vm runs it on another: %v", err)
	}
}

// HasDummy is nil if the kernel can make a dummy link, and else says why not.
func HasDummy(t testing.TB) error {
	t.Helper()
	n := netns.New(t, "scratch")
	if err := n.Netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe"}}); err != nil {
		return fmt.Errorf("making a dummy link: %w", err)
	}
	return nil
}

// HasTCX is nil if BPF programs can be attached to interfaces by tcx (Linux 6.6), and else says why not.
func HasTCX() error {
	if _, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress}); err != nil {
		return fmt.Errorf("asking for BPF programs of tcx: %w", err)
	}
	return nil
}
