// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

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
	} {
		n := newNode(t)
		n.env["KUBE_DNS_SERVICE_HOST"], n.env["UP_SERVICE_HOST"] = tt.kubeDNS, tt.upstream
		l := n.loader(t, tt.flags)
		c, ok := l.foreseen()
		if join(c.Addresses) != tt.addrs || join(c.Fallback) != tt.fallback || ok != (tt.addrs != "") {
			t.Errorf("%s: %t, %v by %v", tt.flags, ok, c.Addresses, c.Fallback)
		}
		if ok && (c.Port != 53 || c.FallbackZone != 20 || c.Interface != "nodelocaldns") {
			t.Errorf("%s: %+v", tt.flags, c)
		}
	}
}
