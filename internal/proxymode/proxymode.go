// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"os/exec"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	rtnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A ProxyMode is who answers for ClusterIPs on this node, in words for the log.
type ProxyMode string

// The modes that leave a trace on the node.
const (
	ProxyNone     ProxyMode = "no kube-proxy found"
	ProxyIPVS     ProxyMode = "kube-proxy in IPVS mode"
	ProxyNFTables ProxyMode = "kube-proxy in nftables mode"
	ProxyIPTables ProxyMode = "kube-proxy in iptables mode"
	ProxyCilium   ProxyMode = "Cilium without kube-proxy"
)

// serviceChain begins the names of the chains that kube-proxy has for each
// Service in iptables mode, and only there: KUBE-SERVICES is in IPVS mode, too.
const serviceChain = "KUBE-SVC-"

// DetectProxyMode looks for what each mode leaves on the node. It changes
// nothing and loads no module; what it is not allowed to see is not there.
//
// IPVS comes first: an address on its link cannot be taken, even if kube-proxy
// has changed its mode and left the link. Cilium comes last, as kube-proxy may
// run beside it.
func DetectProxyMode() ProxyMode {
	switch {
	case hasLink(ipvsLink):
		return ProxyIPVS
	case hasNFTables("kube-proxy"):
		return ProxyNFTables
	case hasServiceChains():
		return ProxyIPTables
	case hasLink("cilium_host"):
		return ProxyCilium
	}
	return ProxyNone
}

func hasLink(name string) bool {
	_, err := rtnl.LinkByName(name)
	return err == nil
}

// hasNFTables reports whether one of the families has a table of that name.
func hasNFTables(name string) bool {
	return slices.ContainsFunc([]bool{false, true}, func(six bool) bool {
		ok, err := nftTableExists(nftFamily(six), name)
		return ok && err == nil
	})
}

// hasServiceChains looks into the nat tables of both variants and families.
func hasServiceChains() bool {
	return slices.ContainsFunc([]bool{false, true}, func(six bool) bool {
		return nftServiceChains(six) || legacyServiceChains(six)
	})
}

func nftServiceChains(six bool) bool {
	c, err := nftDial()
	if err != nil {
		return false
	}
	defer c.Close()
	msgs, err := c.Execute(nftMessage(unix.NFT_MSG_GETCHAIN, nftFamily(six), netlink.Request|netlink.Dump, func(*netlink.AttributeEncoder) {}))
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

// legacyServiceChains asks the kernel's old interface, through its command. To
// list a table that is not there would load its module, and make it.
func legacyServiceChains(six bool) bool {
	if !slices.Contains(legacyTables(six), "nat") {
		return false
	}
	x := xtables{six: six, variant: legacyVariant}
	if _, err := exec.LookPath(x.command("-save")); err != nil {
		x.variant = "" // not installed under a second name
		if legacy, err := x.legacy(); err != nil || !legacy {
			return false
		}
	}
	saved, err := run("", x.command("-save"), "-t", "nat")
	return err == nil && strings.Contains(saved, "\n:"+serviceChain)
}
