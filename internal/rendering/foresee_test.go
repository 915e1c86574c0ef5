// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"net/netip"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// TestForeseen: what the fallback table is made for is what the rendered stanza says, without reading a file.
func TestForeseen(t *testing.T) {
	for _, tt := range []struct {
		flags, kubeDNS, upstream string
		addrs, fallback          string // empty: no table
	}{
		{"", "10.96.0.10", "", "169.254.20.10", "10.96.0.10"},
		{"", "", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10,10.96.0.10", "10.96.0.10", "10.96.0.11", "169.254.20.10 10.96.0.10", "10.96.0.10"},
		{"-localip 169.254.20.10 -upstreamsvc up", "", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip 169.254.20.10 -upstreamsvc up", "x", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip 169.254.20.10 -fallback 10.96.0.12", "10.96.0.10", "", "169.254.20.10", "10.96.0.12"},
		{"-localip 169.254.20.10 -fallback none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10 -firewall none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10 -firewall none -fallback 10.96.0.12", "", "", "169.254.20.10", "10.96.0.12"},
		{"-localip 169.254.20.10 -firewall none -link none -fallback 10.96.0.12", "", "", "", ""},
		{"-localip 169.254.20.10", "fd00::10", "", "169.254.20.10", ""},
		{"-conf own", "10.96.0.10", "", "", ""},
		{"-localip auto", "10.96.0.10", "", "169.254.20.10", "10.96.0.10"},
		{"-localip auto -upstreamsvc up", "x", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip auto -fallback 10.96.0.12", "", "", "169.254.20.10", "10.96.0.12"},
		{"-localip auto -fallback none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip auto -firewall none -link none", "10.96.0.10", "", "", ""},
		{"-localip auto", "fd00::10", "", "", ""}, // 169.254.20.10 is none of its addresses
		{"-localip auto -fallback 10.96.0.12", "fd00::10", "", "", ""},
	} {
		n := newNode(t)
		n.env["KUBE_DNS_SERVICE_HOST"], n.env["UP_SERVICE_HOST"] = tt.kubeDNS, tt.upstream
		l := n.renderer(t, tt.flags)
		c, ok := l.Foreseen()
		if options.Join(c.Addresses) != tt.addrs || options.Join(c.Fallback) != tt.fallback || ok != (tt.addrs != "") {
			t.Errorf("%s: %t, %v by %v", tt.flags, ok, c.Addresses, c.Fallback)
		}
		if l.Opts.Auto && len(l.Opts.Addresses) > 0 {
			t.Errorf("%s: resolved to %v", tt.flags, l.Opts.Addresses)
		}
		if ok && (c.Port != 53 || c.FallbackZone != 20 || c.Interface != "nodelocaldns") {
			t.Errorf("%s: %+v", tt.flags, c)
		}
	}
}

// TestForeseenOfAuto: once -localip auto is resolved, the table is for the addresses that were found.
func TestForeseenOfAuto(t *testing.T) {
	l := newNode(t).renderer(t, "-localip auto")
	l.Opts.Addresses = []netip.Addr{options.StandaloneIP, netip.MustParseAddr("10.96.0.10")}
	if c, ok := l.Foreseen(); !ok || options.Join(c.Addresses) != "169.254.20.10 10.96.0.10" {
		t.Errorf("%t, %v", ok, c.Addresses)
	}
}
