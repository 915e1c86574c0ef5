// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestRefused has no fallback. After a kill a query to the link-local address is refused at once, over both protocols, from a pod
// and from the host; the cluster DNS answers at the ClusterIP. The next instance answers, and leaves no table when it ends.
func TestRefused(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, fallback: "none"})
			ask := func(from *netns.Namespace, a netip.Addr, tcp bool) error {
				_, err := client.Ask(from, client.Query{Server: client.Port53(a), TCP: tcp, Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: 3 * time.Second})
				return err
			}
			each := func(f func(from *netns.Namespace, tcp bool)) {
				for _, from := range []*netns.Namespace{l.Pod, l.Node} {
					f(from, false)
					f(from, true)
				}
			}
			answers := func(from *netns.Namespace, tcp bool) {
				t.Helper()
				if err := errors.Join(ask(from, lab.LinkLocal, tcp), ask(from, lab.ClusterIP, tcp)); err != nil {
					t.Errorf("from %s, tcp %t: %v", from.Name, tcp, err)
				}
			}
			each(answers)
			c.kill(t)
			noLink(t, l)
			each(func(from *netns.Namespace, tcp bool) {
				begin := time.Now()
				want := syscall.ECONNREFUSED
				if from == l.Node && !tcp {
					want = syscall.EPERM // of sendmsg: the packet does not leave the socket's own host
				}
				err := ask(from, lab.LinkLocal, tcp)
				took := time.Since(begin)
				if !errors.Is(err, want) || took > time.Second {
					t.Errorf("from %s, tcp %t: %v after %s, want %v at once", from.Name, tcp, err, took, want)
				}
				if err := ask(from, lab.ClusterIP, tcp); err != nil {
					t.Errorf("the ClusterIP from %s, tcp %t: %v", from.Name, tcp, err)
				}
			})
			c = c.again(t)
			each(answers)
			c.term(t)
			harness.Until(t, 10*time.Second, "no table", func() error {
				if left := l.Node.Exec(t, "", "nft", "list", "tables"); strings.Contains(left, "nodelocaldns") {
					return errors.New(left)
				}
				return nil
			})
		})
	}
}
