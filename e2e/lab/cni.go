// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// A CNI is a way in which pods are connected to the node.
type CNI string

// The CNIs of the lab. The first pod has none of them, but a veth with a subnet of its own.
const (
	Bridge       CNI = "bridge"        // a bridge whose ports are the pods, as of flannel or kubenet
	Routed       CNI = "routed"        // a veth for each pod, a route to its address alone, proxy ARP, as of Calico
	Macvlan      CNI = "macvlan"       // a macvlan on the uplink, where the node has one, too
	IPvlan       CNI = "ipvlan"        // an ipvlan on the uplink, where the node has one, too
	UplinkBridge CNI = "uplink bridge" // a bridge whose ports are the pods and the uplink, as of Azure
)

// network has the commands by which a CNI connects a pod, as ip takes them. Those for the node make a link "new". The pod gets
// this link as eth0. Those for the pod configure eth0.
type network struct{ node, pod string }

var networks = map[CNI]network{
	Bridge: {`link add cni0 type bridge
link set cni0 up
addr add 10.244.5.1/24 dev cni0
-6 addr add fd00:244:5::1/64 dev cni0 nodad
link add veth-cni type veth peer name new
link set veth-cni master cni0 up`, subnet("10.244.5", "fd00:244:5:")},
	Routed: {`link add cali0 type veth peer name new
link set cali0 up
-6 addr add fe80::1/64 dev cali0 nodad
route add 10.244.6.2/32 dev cali0
-6 route add fd00:244:6::2/128 dev cali0`, `addr add 10.244.6.2/32 dev eth0
-6 addr add fd00:244:6::2/128 dev eth0 nodad
route add 169.254.1.1 dev eth0 scope link
route add default via 169.254.1.1 dev eth0
-6 route add default via fe80::1 dev eth0`},
	Macvlan: {shared("macvlan mode bridge"), subnet("10.244.7", "fd00:244:7:")},
	IPvlan:  {shared("ipvlan mode l2"), subnet("10.244.7", "fd00:244:7:")},
	UplinkBridge: {`link add br0 type bridge
link set br0 up
addr flush dev veth-out
link set veth-out master br0
addr add 192.168.9.1/24 dev br0
-6 addr add fd00:9::1/64 dev br0 nodad
route replace default via 192.168.9.2
-6 route replace default via fd00:9::2 dev br0
link add veth-br type veth peer name new
link set veth-br master br0 up`, subnet("192.168.9", "fd00:9:")},
}

// shared is the commands for the node of a CNI in which node and pod both have an interface on top of the uplink.
func shared(kind string) string {
	return fmt.Sprintf(`link add host0 link veth-out type %[1]s
link set host0 up
addr add 10.244.7.1/24 dev host0
-6 addr add fd00:244:7::1/64 dev host0 nodad
link add new link veth-out type %[1]s`, kind)
}

// subnet is the commands for a pod that has a subnet in common with the node. The node's address ends with 1, the pod's with
// 20.
func subnet(four, six string) string {
	return fmt.Sprintf(`addr add %[1]s.20/24 dev eth0
-6 addr add %[2]s:20/64 dev eth0 nodad
route add default via %[1]s.1
-6 route add default via %[2]s:1`, four, six)
}

// NewPodOn connects another pod to the node. The test is skipped on a kernel that lacks this kind of link.
func (l *Lab) NewPodOn(t testing.TB, kind CNI) *netns.Namespace {
	t.Helper()
	pod := netns.New(t, string(kind)+" pod")
	for _, s := range everySysctls {
		pod.Sysctl(t, s[0], s[1])
	}
	ip(t, l.Node, networks[kind].node)
	switch kind {
	case Routed:
		l.Node.Sysctl(t, "net.ipv4.conf.cali0.proxy_arp", "1")
	case IPvlan: // the pod's packets come in by another link than the one that the route to the pod names
		l.Node.Sysctl(t, "net.ipv4.conf.veth-out.rp_filter", "2")
	}
	link, err := l.Node.Netlink.LinkByName("new")
	if err == nil {
		err = l.Node.Netlink.LinkSetNsFd(link, int(pod.Handle))
	}
	if err != nil {
		t.Fatalf("giving the pod its link: %v", err)
	}
	ip(t, pod, "link set new name eth0\nlink set eth0 up\n"+networks[kind].pod)
	return pod
}

// ip runs commands of ip, one a line.
func ip(t testing.TB, n *netns.Namespace, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		args := strings.Fields(line)
		if out, err := n.Output("", "ip", args...); err != nil {
			if strings.Contains(out, "Unknown device type") || strings.Contains(out, "Operation not supported") {
				NeedsKernel(t, fmt.Errorf("ip %s: %s", strings.TrimSpace(line), strings.TrimSpace(out)))
			}
			t.Fatalf("ip %s in %s: %v\n%s", strings.TrimSpace(line), n.Name, err, out)
		}
	}
}
