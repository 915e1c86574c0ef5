// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// Lab is a node with all that surrounds it.
type Lab struct {
	Node, Pod, DNS, Outside *netns.Namespace
	ClusterDNS              *upstream.Server // the pod behind the Services kube-dns and kube-dns-upstream
	External                *upstream.Server // the resolver in the node's resolv.conf
	KubeProxy               Backend
	Proxy                   *process.Process // Kubernetes' own kube-proxy, in IPVS mode; else nil
	Slow                    *upstream.Slow   // what the cluster DNS asks for slow.cluster.local
	SlowOutside             *upstream.Slow   // what the external resolver asks for slow.example.org and 2.0.192.in-addr.arpa
	replicas                int
}

// Network builds the namespaces of a lab and what its kube-proxy sets up with the given backend, without any server.
func Network(t testing.TB, kubeProxy Backend) *Lab {
	t.Helper()
	harness.Require(t)
	l := &Lab{KubeProxy: kubeProxy}
	l.wire(t)
	l.Node.ResolvConf(t, fmt.Sprintf("nameserver %s\n", OutsideIP))
	l.startKubeProxy(t)
	return l
}

// New builds a lab whose kube-proxy uses the given backend, and waits until its cluster DNS answers through it.
func New(t testing.TB, kubeProxy Backend) *Lab {
	t.Helper()
	l := Network(t, kubeProxy)
	l.SlowOutside = upstream.StartSlow(t, l.Outside)
	l.External = upstream.StartServer(t, l.Outside, upstream.ExternalCorefile)
	l.Slow = upstream.StartSlow(t, l.DNS)
	l.ClusterDNS = upstream.StartServer(t, l.DNS, upstream.ClusterCorefile(t, OutsideIP))
	t.Cleanup(func() {
		if t.Failed() {
			l.Node.LogUnanswered(t)
		}
	})
	if kubeProxy == IPVS {
		l.WaitKubeProxy(t, IPVS)
	}
	l.waitAnswers(t)
	return l
}

// waitAnswers waits until the cluster DNS answers through kube-proxy.
func (l *Lab) waitAnswers(t testing.TB) {
	t.Helper()
	for _, from := range []*netns.Namespace{l.Pod, l.Node} {
		for _, ip := range []netip.Addr{ClusterIP, ClusterIP6, UpstreamIP, UpstreamIP6} {
			l.waitAnswer(t, from, ip)
		}
	}
}

func (l *Lab) waitAnswer(t testing.TB, from *netns.Namespace, ip netip.Addr) {
	t.Helper()
	harness.Until(t, time.Minute, fmt.Sprintf("answer from %s in %s", ip, from.Name), func() error {
		_, err := client.Ask(from, client.Query{Server: client.Port53(ip), Name: "ready.wild.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
		return err
	})
}
