// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Lab is a node with all that surrounds it.
type Lab struct {
	Node, Pod, DNS, Outside *Namespace
	ClusterDNS              *Server // the pod behind the Services kube-dns and kube-dns-upstream
	External                *Server // the resolver in the node's resolv.conf
	KubeProxy               Backend
	Slow                    *Slow // what the cluster DNS asks for slow.cluster.local
	SlowOutside             *Slow // what the external resolver asks for slow.example.org and 2.0.192.in-addr.arpa
	replicas                int
}

// New builds a lab whose kube-proxy uses the given backend, and waits until its cluster DNS answers through it.
func New(t testing.TB, kubeProxy Backend) *Lab {
	t.Helper()
	Require(t)
	l := &Lab{KubeProxy: kubeProxy}
	l.wire(t)
	l.Node.ResolvConf(t, fmt.Sprintf("nameserver %s\n", OutsideIP))
	l.SlowOutside = startSlow(t, l.Outside)
	l.External = StartServer(t, l.Outside, externalCorefile)
	l.Slow = startSlow(t, l.DNS)
	l.ClusterDNS = StartServer(t, l.DNS, clusterCorefile(t))
	l.startKubeProxy(t)
	t.Cleanup(func() {
		if t.Failed() {
			l.logUnanswered(t)
		}
	})
	for _, from := range []*Namespace{l.Pod, l.Node} {
		for _, ip := range []netip.Addr{ClusterIP, ClusterIP6, UpstreamIP, UpstreamIP6} {
			l.waitAnswer(t, from, ip)
		}
	}
	return l
}

func (l *Lab) waitAnswer(t testing.TB, from *Namespace, ip netip.Addr) {
	t.Helper()
	Until(t, 10*time.Second, fmt.Sprintf("an answer from %s in %s", ip, from.Name), func() error {
		_, err := from.Ask(Query{Server: Port53(ip), Name: "ready.wild.cluster.local.", Type: dns.TypeA, Timeout: 300 * time.Millisecond})
		return err
	})
}

// Until calls f every few milliseconds until it returns nil, and fails the test with f's last error when that takes longer
// than the timeout. It returns how long it took.
func Until(t testing.TB, timeout time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > timeout {
			t.Fatalf("no %s within %s: %v", what, timeout, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
