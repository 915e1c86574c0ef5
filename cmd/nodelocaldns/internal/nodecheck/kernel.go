// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
)

// file returns the content of a file below /proc without white space around it, "" if there is none.
func (e *Env) file(path string) string {
	text, _ := os.ReadFile(e.Proc + path) // what cannot be read is not there
	return strings.TrimSpace(string(text))
}

// capabilities looks at this process: it is to have the rights that the cache will have.
func capabilities(_ context.Context, e *Env) []Finding {
	_, rest, ok := strings.Cut(e.file("/self/status"), "\nCapEff:")
	word, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	held, err := strconv.ParseUint(word, 16, 64)
	if !ok || err != nil {
		return nil
	}
	var lacking []string
	if held&(1<<unix.CAP_NET_ADMIN) == 0 && (e.LinkKind != hostnet.None || e.Firewall != hostnet.None) {
		lacking = append(lacking, "NET_ADMIN")
	}
	if held&(1<<unix.CAP_NET_BIND_SERVICE) == 0 {
		lacking = append(lacking, "NET_BIND_SERVICE")
	}
	if len(lacking) == 0 {
		return nil
	}
	return one(Error, "this process lacks the capability "+strings.Join(lacking, " and "),
		"NET_ADMIN is for link and rules, NET_BIND_SERVICE for port 53 and for the names of instances",
		"run as root, or add the capabilities to the container (securityContext.capabilities.add)")
}

// linkKind looks whether the kernel makes the kind of link that is wanted.
func linkKind(_ context.Context, e *Env) []Finding {
	if e.LinkKind == hostnet.None {
		return nil
	}
	var tun, dummy error
	if e.LinkKind != link.Dummy {
		tun = e.HasTUN()
	}
	if e.LinkKind == link.Dummy || e.LinkKind == hostnet.Auto && tun != nil {
		dummy = e.HasDummy()
	}
	switch {
	case dummy != nil:
		return one(Error, fmt.Sprintf("the kernel makes no dummy link (%v)%s", dummy, also(tun)), "the cache has no link for its addresses, and does not start",
			"load the module dummy, or tun (modprobe tun), and mount /dev/net into the container")
	case tun != nil && e.LinkKind == link.TUN:
		return one(Error, fmt.Sprintf("no TUN link can be made: %v", tun), "the cache does not start with -link tun",
			"load the module tun (modprobe tun), and mount the host's /dev/net into the container")
	case tun != nil:
		return one(Warning, fmt.Sprintf("no TUN link can be made: %v", tun),
			"the cache uses a dummy link: after kill -9 or an OOM kill its addresses stay until the lease ends (3 s), and queries are lost meanwhile",
			"load the module tun (modprobe tun), and mount the host's /dev/net into the container")
	}
	return nil
}

func also(tun error) string {
	if tun == nil {
		return ""
	}
	return fmt.Sprintf(", and no TUN link (%v)", tun)
}

// firewall looks for an interface to the kernel's rules.
func firewall(_ context.Context, e *Env) (found []Finding) {
	if e.Firewall == hostnet.None {
		return nil
	}
	tables := e.HasTables()
	iptables := slices.ContainsFunc([]string{"iptables-nft", "iptables-legacy", "iptables"}, func(name string) bool {
		_, err := e.LookPath(name)
		return err == nil
	})
	switch {
	case e.Firewall == hostnet.IPTables && !iptables:
		return one(Error, "there is no command iptables", "the cache steers DNS with iptables, as -firewall iptables says",
			"install iptables beside the cache (the image has it), or use -firewall nftables")
	case tables != nil && (e.Firewall == hostnet.NFTables || !iptables):
		return one(Error, fmt.Sprintf("the kernel has no nf_tables: %v", tables), "no rules can be made, so DNS is not steered to the cache",
			"load the module nf_tables, or install iptables-legacy and use -firewall iptables")
	case tables != nil:
		return one(Warning, fmt.Sprintf("the kernel has no nf_tables: %v", tables),
			"there is no fallback table: nobody answers at "+ownAddress(e.Addresses)+" while the cache is away", "load the module nf_tables")
	}
	return nil
}

func ownAddress(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "the cache's own address"
	}
	return addrs[0].String()
}

// conntrackTable looks whether the kernel has room for more connections: misses, and the queries of a node without a cache, take it.
func conntrackTable(_ context.Context, e *Env) []Finding {
	count, err := strconv.Atoi(e.file("/sys/net/netfilter/nf_conntrack_count"))
	limit, lerr := strconv.Atoi(e.file("/sys/net/netfilter/nf_conntrack_max"))
	if err != nil || lerr != nil || limit == 0 || count < limit/10*9 {
		return nil
	}
	return one(Warning, fmt.Sprintf("the table of connections is nearly full: %d of %d", count, limit),
		"the kernel drops new connections at the limit: the questions to the cluster DNS, and all DNS while the cache is away",
		"raise net.netfilter.nf_conntrack_max, and find who has the connections (conntrack -L)")
}

// ipv6 looks whether an IPv6 address of the cache can be on a link.
func ipv6(_ context.Context, e *Env) []Finding {
	if !slices.ContainsFunc(e.Addresses, netip.Addr.Is6) || e.hasIPv6() {
		return nil
	}
	return one(Error, "an IPv6 address is to be served, and IPv6 is switched off on this node",
		"the kernel refuses the address, so the cache does not serve it", "take the address out of -localip, or switch IPv6 on (net.ipv6.conf.all.disable_ipv6=0)")
}

func (e *Env) hasIPv6() bool {
	return e.file("/sys/net/ipv6/conf/all/disable_ipv6") == "0" && e.file("/sys/net/ipv6/conf/default/disable_ipv6") == "0"
}
