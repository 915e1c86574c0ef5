// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// Replica is another pod of the cluster DNS, in a namespace of its own.
type Replica struct {
	*netns.Namespace
	IP     netip.Addr
	Server *upstream.Server // nil: not started yet
	Slow   *upstream.Slow   // what it asks for slow.cluster.local

	veth string // the node's side
}

// NewReplica connects another pod to the node. The pod gets no query before Endpoints names it.
func (l *Lab) NewReplica(t testing.TB) *Replica {
	t.Helper()
	l.replicas++
	net, name := byte(2+l.replicas), fmt.Sprintf("replica%d", l.replicas)
	r := &Replica{IP: netip.AddrFrom4([4]byte{10, 244, net, 2}), veth: "veth-" + name}
	r.Namespace = l.NewPod(t, name, net)
	return r
}

// Serve starts the cluster DNS in the replica, and waits for its answer.
func (r *Replica) Serve(t testing.TB, l *Lab) {
	t.Helper()
	r.Slow = upstream.StartSlow(t, r.Namespace)
	r.Server = upstream.StartServer(t, r.Namespace, upstream.ClusterCorefile(t, OutsideIP))
	l.waitAnswer(t, l.Node, r.IP)
}

// Cut takes the link of the pod down. Packets to the pod are lost.
func (r *Replica) Cut(t testing.TB) {
	t.Helper()
	link, err := r.Netlink.LinkByName("eth0")
	if err == nil {
		err = r.Netlink.LinkSetDown(link)
	}
	if err != nil {
		t.Fatalf("cutting the link of %s: %v", r.Name, err)
	}
}

// Lose drops, with the probability given, each packet that the pod receives and each that the node receives from the pod. With
// 1 it is as if the pod's node had lost its power.
func (r *Replica) Lose(t testing.TB, l *Lab, probability float64) {
	t.Helper()
	lose(t, r.Namespace, "eth0", probability)
	lose(t, l.Node, r.veth, probability)
}

// LoseDNS is Lose for the first pod of the cluster DNS.
func (l *Lab) LoseDNS(t testing.TB, probability float64) {
	t.Helper()
	lose(t, l.DNS, "eth0", probability)
	lose(t, l.Node, "veth-dns", probability)
}

// FindDNS ends LoseDNS.
func (l *Lab) FindDNS(t testing.TB) {
	t.Helper()
	l.DNS.Exec(t, "", "iptables-nft", "-F", "INPUT")
	l.Node.Exec(t, "", "iptables-nft", "-D", "INPUT", "-i", "veth-dns", "-j", "DROP")
}

func lose(t testing.TB, n *netns.Namespace, link string, probability float64) {
	t.Helper()
	rule := []string{"-I", "INPUT", "-i", link, "-j", "DROP"}
	if probability < 1 {
		rule = append(rule, "-m", "statistic", "--mode", "random", "--probability", fmt.Sprintf("%.5f", probability))
	}
	n.Exec(t, "", "iptables-nft", rule...)
}

// Endpoints sets the pods behind the Service kube-dns-upstream, over IPv4. A new connection goes to any of them at random. A
// connection that exists keeps its pod, as with kube-proxy.
func (l *Lab) Endpoints(t testing.TB, pods ...netip.Addr) {
	t.Helper()
	if l.KubeProxy == NFTables {
		t.Fatal("the endpoints of a lab with nftables cannot be changed")
	}
	var b strings.Builder
	b.WriteString("*nat\n")
	for _, proto := range []string{"udp", "tcp"} {
		chain := "KUBE-SVC-UPSTREAM-" + proto
		fmt.Fprintf(&b, ":%s - [0:0]\n-A %s ! -s %s -j KUBE-MARK-MASQ\n", chain, chain, PodNetwork)
		for i, pod := range pods {
			fmt.Fprintf(&b, "-A %s -p %s -m statistic --mode random --probability %.5f -j DNAT --to-destination %s\n",
				chain, proto, 1/float64(len(pods)-i), client.Port53(pod))
		}
	}
	b.WriteString("COMMIT\n")
	l.Node.Exec(t, b.String(), "iptables-"+strings.TrimPrefix(string(l.KubeProxy), "iptables-")+"-restore", "--noflush")
}
