// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestNoDefaultRoute is a known limit: on a node without a default route the host itself has no way to start from while the
// cache is away, neither to the link-local address nor to the ClusterIP. Pods have one.
func TestNoDefaultRoute(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	l.Node.Exec(t, "", "ip", "route", "del", "default")
	c := start(t, l, options{firewall: lab.IPTablesNFT, addrs: ipv4})
	ask := func(from *netns.Namespace, a netip.Addr, tcp bool) error {
		q := client.Query{Server: client.Port53(a), TCP: tcp, Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: patience}
		_, err := client.Ask(from, q)
		return err
	}
	for _, a := range ipv4 {
		for _, from := range []*netns.Namespace{l.Pod, l.Node} {
			if err := errors.Join(ask(from, a, false), ask(from, a, true)); err != nil {
				t.Errorf("with the cache, %s at %s: %v", from.Name, a, err)
			}
		}
	}
	c.kill(t)
	noLink(t, l)
	for _, a := range ipv4 {
		for _, tcp := range []bool{false, true} {
			if err := ask(l.Pod, a, tcp); err != nil {
				t.Errorf("without the cache, pod at %s: %v", a, err)
			}
			if err := ask(l.Node, a, tcp); !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("without the cache, host at %s: %v, want %v", a, err, syscall.ENETUNREACH)
			}
		}
	}
}
