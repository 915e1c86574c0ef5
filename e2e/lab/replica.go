// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// ReplicaIP is the address of the second pod of the cluster DNS.
var ReplicaIP = netip.MustParseAddr("10.244.3.2")

// Replica is a second pod, in a namespace of its own.
type Replica struct {
	*Namespace
	Server *Server // nil: not started yet
	Slow   *Slow   // what it asks for slow.cluster.local
}

// NewReplica connects a second pod to the node. It gets no query before Endpoints names it.
func (l *Lab) NewReplica(t testing.TB) *Replica {
	t.Helper()
	r := &Replica{Namespace: NewNamespace(t, "replica")}
	for _, s := range everySysctls {
		r.Sysctl(t, s[0], s[1])
	}
	join(t, l.Node, "veth-replica", []string{"10.244.3.1/24"}, r.Namespace, []string{ReplicaIP.String() + "/24"})
	return r
}

// Serve starts the cluster DNS in the replica, and waits for its answer.
func (r *Replica) Serve(t testing.TB, l *Lab) {
	t.Helper()
	r.Slow = startSlow(t, r.Namespace)
	r.Server = StartServer(t, r.Namespace, clusterCorefile(t))
	l.waitAnswer(t, l.Node, ReplicaIP)
}

// Cut takes the link of the pod down: what is sent to it vanishes.
func (r *Replica) Cut(t testing.TB) {
	t.Helper()
	link, err := r.netlink.LinkByName("eth0")
	if err == nil {
		err = r.netlink.LinkSetDown(link)
	}
	if err != nil {
		t.Fatalf("cutting the link of %s: %v", r.Name, err)
	}
}

// Endpoints changes the pods that new connections to the Service kube-dns-upstream are given to, at random, over IPv4. As with
// kube-proxy, connections that exist stay where they are.
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
				chain, proto, 1/float64(len(pods)-i), Port53(pod))
		}
	}
	b.WriteString("COMMIT\n")
	l.Node.Exec(t, b.String(), "iptables-"+strings.TrimPrefix(string(l.KubeProxy), "iptables-")+"-restore", "--noflush")
}
