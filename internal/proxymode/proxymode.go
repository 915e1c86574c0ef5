// SPDX-License-Identifier: Apache-2.0

// Package proxymode tells by the traces on the node who answers for ClusterIPs.
package proxymode

import (
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	rtnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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

// serviceChain begins the names of the chains that kube-proxy has for each
// Service in iptables mode, and only there: KUBE-SERVICES is in IPVS mode, too.
const serviceChain = "KUBE-SVC-"

// Detect looks for what each mode leaves on the node. It changes
// nothing and loads no module; what it is not allowed to see is not there.
//
// IPVS comes first: an address on its link cannot be taken, even if kube-proxy
// has changed its mode and left the link. Cilium comes last, as kube-proxy may
// run beside it.
func Detect() Mode {
	switch {
	case hasLink(link.IPVS):
		return IPVS
	case hasNFTables("kube-proxy"):
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

// hasNFTables reports whether one of the families has a table of that name.
func hasNFTables(name string) bool {
	return slices.ContainsFunc(family.Both, func(f family.Family) bool {
		ok, err := nft.TableExists(f, name)
		return ok && err == nil
	})
}

// hasServiceChains looks into the nat tables of both variants and families.
func hasServiceChains() bool {
	return slices.ContainsFunc(family.Both, func(f family.Family) bool {
		return nftServiceChains(f) || legacyServiceChains(f)
	})
}

func nftServiceChains(f family.Family) bool {
	c, err := nft.Dial()
	if err != nil {
		return false
	}
	defer c.Close()
	msgs, err := c.Execute(nft.Message(unix.NFT_MSG_GETCHAIN, f, netlink.Request|netlink.Dump, func(*netlink.AttributeEncoder) {}))
	return err == nil && slices.ContainsFunc(msgs, isServiceChain)
}

// isServiceChain reports whether m describes such a chain of table nat.
func isServiceChain(m netlink.Message) bool {
	if len(m.Data) < 4 {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return false
	}
	var table, name string
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			name = ad.String()
		}
	}
	return table == "nat" && strings.HasPrefix(name, serviceChain)
}

// legacyServiceChains asks the kernel's old interface, through its command.
func legacyServiceChains(f family.Family) bool {
	saved, err := xtables.LegacyTable(f, "nat")
	return err == nil && strings.Contains(saved, "\n:"+serviceChain)
}
