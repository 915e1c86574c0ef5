// SPDX-License-Identifier: Apache-2.0

package lab

import (
	_ "embed"
	"net/netip"
	"strings"
	"testing"
	"text/template"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// Backend is the interface by which a program configures the firewall of the kernel.
type Backend string

// The backends: iptables in its two variants, and nftables itself.
const (
	IPTablesNFT    Backend = "iptables-nft"
	IPTablesLegacy Backend = "iptables-legacy"
	NFTables       Backend = "nftables"
)

// Backends lists the backends of the cache.
var Backends = []Backend{IPTablesNFT, IPTablesLegacy, NFTables}

//go:embed kubeproxy.iptables
var kubeProxyIPTables string

//go:embed kubeproxy.nft
var kubeProxyNFT string

// family has the values that kube-proxy's rules for the DNS Services are rendered from, in one address family.
type family struct {
	Name, IPTables string // as nft has it; prefix of the iptables commands
	Pods           netip.Prefix
	Endpoint       netip.Addr
	Target         string // the endpoint with its port
	Services       []service
}

type service struct {
	Name, Proto string
	IP          netip.Addr
}

func services(kubeDNS, upstream netip.Addr) []service {
	return []service{
		{"DNS", "udp", kubeDNS}, {"DNS", "tcp", kubeDNS},
		{"UPSTREAM", "udp", upstream}, {"UPSTREAM", "tcp", upstream},
	}
}

var families = []family{
	{"ip", "iptables", PodNetwork, DNSPodIP, client.Port53(DNSPodIP).String(), services(ClusterIP, UpstreamIP)},
	{"ip6", "ip6tables", PodNetwork6, DNSPodIP6, client.Port53(DNSPodIP6).String(), services(ClusterIP6, UpstreamIP6)},
}

// startKubeProxy installs on the node what kube-proxy installs for the two DNS Services, or starts kube-proxy.
func (l *Lab) startKubeProxy(t testing.TB) {
	t.Helper()
	if l.KubeProxy == IPVS {
		l.plugIn(t)
		l.RunKubeProxy(t, IPVS)
		return
	}
	for _, f := range families {
		switch l.KubeProxy {
		case NFTables:
			l.Node.Exec(t, render(t, kubeProxyNFT, f), "nft", "-f", "-")
		default:
			variant := strings.TrimPrefix(string(l.KubeProxy), "iptables-")
			l.Node.Exec(t, render(t, kubeProxyIPTables, f), f.IPTables+"-"+variant+"-restore", "--noflush")
		}
	}
}

func render(t testing.TB, text string, f any) string {
	t.Helper()
	var b strings.Builder
	if err := template.Must(template.New("rules").Parse(text)).Execute(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
