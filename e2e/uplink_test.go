// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// dropByDefault is the host's own firewall, in iptables-restore's form: what the host has not asked for is dropped.
const dropByDefault = `*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
COMMIT
`

// guard installs the host's firewall in both families.
func guard(t *testing.T, l *lab.Lab, firewall lab.Backend) {
	t.Helper()
	variant := strings.TrimPrefix(string(firewall), "iptables-")
	for _, family := range []string{"iptables-", "ip6tables-"} {
		l.Node.Exec(t, dropByDefault, family+variant+"-restore", "--noflush")
	}
}

// servedAt asks at all addresses over both protocols.
func servedAt(t *testing.T, from *netns.Namespace, addrs []netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		for _, tcp := range []bool{false, true} {
			check(t, from, a, tcp, answersWanted[0])
		}
	}
}

// unheard asks as servedAt does, and wants no answer; nor is there one from the health check.
func unheard(t *testing.T, from *netns.Namespace, addrs []netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		for _, tcp := range []bool{false, true} {
			m, err := client.Ask(from, client.Query{Server: client.Port53(a), TCP: tcp, Name: answersWanted[0].name, Type: dns.TypeA, Timeout: 400 * time.Millisecond})
			if err == nil {
				t.Errorf("%s (tcp=%t) answered %s:\n%s", a, tcp, from.Name, m)
			}
		}
		if page, err := from.Get("http://" + netip.AddrPortFrom(a, 8080).String() + "/health"); err == nil {
			t.Errorf("%s told %s of its health: %s", a, from.Name, page)
		}
	}
}

// TestUplink has a host on the node's uplink ask the cache, through a firewall of the node's that drops by default. It gets
// no answer, while pods of each kind of network and the node itself get theirs. With -uplink open it is answered, too.
func TestUplink(t *testing.T) {
	t.Parallel()
	for _, firewall := range []lab.Backend{lab.IPTablesNFT, lab.IPTablesLegacy} {
		t.Run(string(firewall), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, firewall)
			pods := []*netns.Namespace{l.Node, l.Pod, l.NewPodOn(t, lab.Bridge), l.NewPodOn(t, lab.Routed)}
			guard(t, l, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			c.settle(t)
			for _, p := range pods {
				servedAt(t, p, dual)
			}
			unheard(t, l.Outside, dual)
			neighbour(t, l, false)
			if page, err := l.Node.Get("http://169.254.20.10:8080/health"); err != nil {
				t.Errorf("the node itself: %s, %v", page, err)
			}
			c.WaitOutput(t, saidTimeout, "DNS from outside is left to the host's firewall at the interface of the default route: veth-out")
			c.term(t)
			c = start(t, l, options{firewall: firewall, addrs: dual, args: []string{"-uplink", "open"}})
			c.settle(t)
			servedAt(t, l.Outside, dual)
			neighbour(t, l, true)
		})
	}
}

// TestUplinkShared has pods upon the uplink's own interface. They hear the node by an interface of the node's beside theirs. The
// node hears a macvlan pod by that, too, but an ipvlan pod by the uplink, by which the network outside is served as well then.
func TestUplinkShared(t *testing.T) {
	t.Parallel()
	for kind, outside := range map[lab.CNI]func(*testing.T, *netns.Namespace, []netip.Addr){lab.Macvlan: unheard, lab.IPvlan: servedAt} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.IPTablesNFT)
			pod := l.NewPodOn(t, kind)
			guard(t, l, lab.IPTablesNFT)
			start(t, l, options{firewall: lab.IPTablesNFT, addrs: dual}).settle(t)
			servedAt(t, pod, dual)
			outside(t, l.Outside, dual)
		})
	}
}

// TestUplinkBridge has pods come in by the interface of the default route, a bridge. They are served, and the log says that others are.
func TestUplinkBridge(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	pod := l.NewPodOn(t, lab.UplinkBridge)
	guard(t, l, lab.IPTablesNFT)
	c := start(t, l, options{firewall: lab.IPTablesNFT, addrs: dual})
	c.settle(t)
	servedAt(t, pod, dual)
	servedAt(t, l.Outside, []netip.Addr{lab.LinkLocal})
	c.WaitOutput(t, saidTimeout, "DNS is accepted at the interface of the default route, since pods may come in there: br0 (it is of type bridge)")
}

// neighbour asks the link-local address as one of the uplink's own network, so by ARP, and wants the node to answer or not.
func neighbour(t *testing.T, l *lab.Lab, answers bool) {
	t.Helper()
	l.Outside.Exec(t, "", "ip", "route", "replace", lab.LinkLocal.String(), "dev", "eth0")
	defer l.Outside.Exec(t, "", "ip", "route", "del", lab.LinkLocal.String())
	_, err := client.Ask(l.Outside, client.Query{Server: client.Port53(lab.LinkLocal), Name: answersWanted[0].name, Type: dns.TypeA, Timeout: patience})
	if (err == nil) != answers {
		t.Errorf("asked by a neighbour: %v", err)
	}
	known := l.Outside.Exec(t, "", "ip", "neigh", "show", lab.LinkLocal.String())
	if strings.Contains(known, "lladdr") != answers {
		t.Errorf("the neighbour knows: %s", known)
	}
}
