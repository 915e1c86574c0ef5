// SPDX-License-Identifier: Apache-2.0

// Package proxymode tells by the traces on the node who answers for ClusterIPs.
package proxymode

import (
	"slices"
	"strings"

	rtnl "github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// A Mode is who answers for ClusterIPs on this node, in words for the log.
type Mode string

// The modes that leave a trace on the node.
const (
	None     Mode = "no kube-proxy found"
	IPVS     Mode = "kube-proxy in IPVS mode"
	NFTables Mode = "kube-proxy in nftables mode"
	IPTables Mode = "kube-proxy in iptables mode"
	Cilium   Mode = "Cilium without kube-proxy"
)

// serviceChain begins the names of the chains that kube-proxy has for each Service in iptables mode, and only there:
// KUBE-SERVICES is in IPVS mode, too.
const serviceChain = "KUBE-SVC-"

// Detect looks for what each mode leaves on the node. It changes nothing and loads no module. What it may not see
// counts as absent.
//
// IPVS comes first: an address on its link cannot be taken, even if kube-proxy has changed its mode since and left
// the link. Cilium comes last, as kube-proxy may run beside it.
func Detect() Mode {
	switch {
	case hasLink(link.IPVS):
		return IPVS
	case nft.AnyTable("kube-proxy"):
		return NFTables
	case hasServiceChains():
		return IPTables
	case hasLink("cilium_host"):
		return Cilium
	}
	return None
}

func hasLink(name string) bool {
	_, err := rtnl.LinkByName(name)
	return err == nil
}

// hasServiceChains looks into the nat tables of both families.
func hasServiceChains() bool {
	return slices.ContainsFunc(family.Both, func(f family.Family) bool {
		return slices.ContainsFunc(xtables.ChainNames(f, "nat"), func(name string) bool { return strings.HasPrefix(name, serviceChain) })
	})
}
