// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// The addresses of the lab, both families.
var (
	ClusterIP    = netip.MustParseAddr("10.96.0.10") // of the Service kube-dns
	ClusterIP6   = netip.MustParseAddr("fd00:96::a")
	UpstreamIP   = netip.MustParseAddr("10.96.0.11") // of the Service kube-dns-upstream
	UpstreamIP6  = netip.MustParseAddr("fd00:96::b")
	LinkLocal    = netip.MustParseAddr("169.254.20.10")
	LinkLocal6   = netip.MustParseAddr("fd00:20::10")
	PodIP        = netip.MustParseAddr("10.244.1.2")
	PodIP6       = netip.MustParseAddr("fd00:244:1::2")
	DNSPodIP     = netip.MustParseAddr("10.244.2.2")
	DNSPodIP6    = netip.MustParseAddr("fd00:244:2::2")
	OutsideIP    = netip.MustParseAddr("192.168.9.2")
	OutsideIP6   = netip.MustParseAddr("fd00:9::2")
	PodNetwork   = netip.MustParsePrefix("10.244.0.0/16")
	PodNetwork6  = netip.MustParsePrefix("fd00:244::/32")
	podSide      = []string{"10.244.1.2/24", "fd00:244:1::2/64"}
	podNode      = []string{"10.244.1.1/24", "fd00:244:1::1/64"}
	dnsSide      = []string{"10.244.2.2/24", "fd00:244:2::2/64"}
	dnsNode      = []string{"10.244.2.1/24", "fd00:244:2::1/64"}
	outsideSide  = []string{"192.168.9.2/24", "fd00:9::2/64"}
	outsideNode  = []string{"192.168.9.1/24", "fd00:9::1/64"}
	nodeSysctls  = [][2]string{{"net.ipv4.ip_forward", "1"}, {"net.ipv6.conf.all.forwarding", "1"}, {"net.ipv4.conf.all.route_localnet", "1"}}
	everySysctls = [][2]string{
		{"net.ipv6.conf.all.disable_ipv6", "0"}, {"net.ipv6.conf.default.disable_ipv6", "0"},
		{"net.ipv6.conf.all.accept_dad", "0"}, {"net.ipv6.conf.default.accept_dad", "0"},
		{"net.ipv6.conf.all.accept_ra", "0"}, {"net.ipv6.conf.default.accept_ra", "0"},
		{"net.ipv4.conf.all.rp_filter", "1"}, {"net.ipv4.conf.default.rp_filter", "1"},
	}
)

// wire makes the namespaces and connects each of them to the node by a veth, with a default route to the node. The node's own
// default route goes outside.
func (l *Lab) wire(t testing.TB) {
	t.Helper()
	l.Node, l.Pod = netns.New(t, "node"), netns.New(t, "pod")
	l.DNS, l.Outside = netns.New(t, "dns"), netns.New(t, "outside")
	for _, n := range []*netns.Namespace{l.Node, l.Pod, l.DNS, l.Outside} {
		for _, s := range everySysctls {
			n.Sysctl(t, s[0], s[1])
		}
	}
	for _, s := range nodeSysctls {
		l.Node.Sysctl(t, s[0], s[1])
	}
	netns.Join(t, l.Node, "veth-pod", podNode, l.Pod, podSide)
	netns.Join(t, l.Node, "veth-dns", dnsNode, l.DNS, dnsSide)
	netns.Join(t, l.Node, "veth-out", outsideNode, l.Outside, outsideSide)
	l.Node.DefaultRoutes(t, outsideSide)
}

// NewPod makes one more pod on the node. Its subnets are 10.244.NET.0/24 and fd00:244:NET::/64, its addresses there end with 2.
func (l *Lab) NewPod(t testing.TB, name string, net byte) *netns.Namespace {
	t.Helper()
	pod := netns.New(t, name)
	for _, s := range everySysctls {
		pod.Sysctl(t, s[0], s[1])
	}
	subnet := func(host int) []string {
		return []string{fmt.Sprintf("10.244.%d.%d/24", net, host), fmt.Sprintf("fd00:244:%d::%d/64", net, host)}
	}
	netns.Join(t, l.Node, "veth-"+name, subnet(1), pod, subnet(2))
	return pod
}
