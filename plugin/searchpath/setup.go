// SPDX-License-Identifier: Apache-2.0

// Package searchpath answers questions for names of a cluster's zone that cannot exist. The search list in a pod's resolv.conf
// makes many such questions. With searchpath hardly any of them reach the cluster DNS.
package searchpath

import (
	"slices"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/miekg/dns"
)

var log = clog.NewWithPlugin("searchpath")

func init() { plugin.Register("searchpath", setup) }

func setup(c *caddy.Controller) error {
	zones, cuts, err := parse(c)
	if err != nil {
		return plugin.Error("searchpath", err)
	}
	s := New(zones, cuts)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		s.Next = next
		return s
	})
	c.OnStartup(s.Start)
	c.OnShutdown(s.Close)
	return nil
}

// parse reads one directive. It returns the zones of the directive or of the server block, and whether cuts are made.
func parse(c *caddy.Controller) (zones []string, cuts bool, err error) {
	cuts = true
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, false, c.Err("given twice in one server block")
		}
		zones = plugin.OriginsFromArgsOrServerBlock(c.RemainingArgs(), c.ServerBlockKeys)
		for c.NextBlock() {
			name, args := c.Val(), c.RemainingArgs()
			if name != "cuts" || len(args) != 1 || args[0] != "off" {
				return nil, false, c.Errf("unknown option %q: known is cuts off", name)
			}
			cuts = false
		}
	}
	for _, z := range zones {
		if !isForward(z) {
			return nil, false, c.Errf("zone %q is not the zone of a cluster's Services: name that one, as in searchpath cluster.local", z)
		}
	}
	return zones, cuts, nil
}

// isForward reports whether zone is neither a reverse zone nor a zone above one. CoreDNS's kubernetes plugin denies
// 0.10.in-addr.arpa although names below it exist (plugin/kubernetes/reverse.go).
func isForward(zone string) bool {
	return !slices.ContainsFunc([]string{"in-addr.arpa.", "ip6.arpa."}, func(reverse string) bool {
		return dns.IsSubDomain(reverse, zone) || dns.IsSubDomain(zone, reverse)
	})
}
