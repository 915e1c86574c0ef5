// SPDX-License-Identifier: Apache-2.0

package lab

// A Kernel is one that lacks something, and what the program says about that at its start.
type Kernel struct {
	Name    string
	Without []string // patterns of the names of modules
	Append  string   // to the command line
	Proxy   Backend  // what kube-proxy can still be
	Warns   []string // the beginnings of the warnings, each of which comes once
	Ends    string   // what the one line of error begins with, if it does not run there
}

// Kernels are those that users may have. The first one lacks nothing.
var Kernels = []Kernel{
	{Name: "complete", Proxy: IPTablesNFT},
	{Name: "no TUN", Without: []string{"tun"}, Proxy: IPTablesNFT, Warns: []string{
		"No /dev/net/tun (no such file or directory): using a dummy link; after a crash DNS falls back within 3s instead of at once",
	}},
	{Name: "no TUN, no dummy", Without: []string{"tun", "dummy"}, Proxy: IPTablesNFT, Ends: "no kind of link works"},
	{Name: "no nf_tables", Without: []string{"nf_tables", "nft_*", "nf_tables_*"}, Proxy: IPTablesLegacy, Warns: []string{"No fallback"}},
	{Name: "no nft_fib", Without: []string{"nft_fib*"}, Proxy: IPTablesNFT, Warns: []string{"No fallback"}},
	{Name: "no nft_ct", Without: []string{"nft_ct"}, Proxy: IPTablesLegacy, Warns: []string{"No fallback"}},
	{Name: "no ip_tables, no nft_compat", Without: []string{"ip_tables", "ip6_tables", "iptable_*", "ip6table_*", "nft_compat"}, Proxy: NFTables},
	{Name: "no xt_CT", Without: []string{"xt_CT"}, Proxy: IPTablesNFT},
	{Name: "no xt_addrtype", Without: []string{"xt_addrtype"}, Proxy: IPTablesNFT},
	{Name: "no IPv6", Append: "ipv6.disable=1", Proxy: IPTablesNFT, Ends: "x"},
}
