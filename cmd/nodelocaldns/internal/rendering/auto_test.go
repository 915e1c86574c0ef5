// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

func TestAutoAddrs(t *testing.T) {
	const four, six = "10.96.0.10", "fd00:96::a"
	noUse := "; 169.254.20.10 is IPv4, of no use to pods with IPv6 only"
	tests := []struct {
		mode            proxymode.Mode
		clusterIP, want string // the addresses and why, or the error
	}{
		{proxymode.IPTables, four, "169.254.20.10 10.96.0.10: kube-proxy in iptables mode"},
		{proxymode.NFTables, four, "169.254.20.10 10.96.0.10: kube-proxy in nftables mode"},
		{proxymode.None, four, "169.254.20.10 10.96.0.10: no kube-proxy found"},
		{proxymode.IPVS, four, "169.254.20.10: kube-proxy in IPVS mode; name it to the pods (clusterDNS of the kubelet)"},
		{proxymode.Cilium, four, "169.254.20.10: Cilium without kube-proxy, which translates ClusterIPs before the node sees them: use manifests/overlays/cilium"},
		{proxymode.IPTables, six, "fd00:96::a: kube-proxy in iptables mode" + noUse},
		{proxymode.NFTables, six, "fd00:96::a: kube-proxy in nftables mode" + noUse},
		{proxymode.None, six, "fd00:96::a: no kube-proxy found" + noUse},
		{proxymode.IPVS, six, "-localip auto: kube-proxy in IPVS mode answers for fd00:96::a itself, and 169.254.20.10 is IPv4: give a unique local address (fd00::/8), such as -localip fd00::10"},
		{proxymode.Cilium, six, "-localip auto: Cilium without kube-proxy answers for fd00:96::a itself, and 169.254.20.10 is IPv4: give a unique local address (fd00::/8), such as -localip fd00::10"},
		{proxymode.None, "", "169.254.20.10: no kube-proxy found, and KUBE_DNS_SERVICE_HOST is not set"},
		{proxymode.IPTables, "", "169.254.20.10: kube-proxy in iptables mode, and KUBE_DNS_SERVICE_HOST is not set"},
		{proxymode.IPVS, "", "169.254.20.10: kube-proxy in IPVS mode, and KUBE_DNS_SERVICE_HOST is not set"},
	}
	for _, tt := range tests {
		var clusterIP netip.Addr
		if tt.clusterIP != "" {
			clusterIP = netip.MustParseAddr(tt.clusterIP)
		}
		addrs, why, err := autoAddrs(tt.mode, clusterIP)
		got := words.Join(addrs) + ": " + why
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", tt.mode, tt.clusterIP, got, tt.want)
		}
	}
}

// find resolves flags on a node whose proxy leaves a trace after a while, and
// returns what was said and how long it took.
func find(t *testing.T, flags, clusterIP string, patience, after time.Duration) (o *options.Options, said []string, took time.Duration, err error) {
	t.Helper()
	o, err = options.Parse(split(flags))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(*testing.T) {
		begin := time.Now()
		f := NewFinder(o, patience, func(s string) { said = append(said, s) })
		f.Getenv = func(name string) string { return map[string]string{"KUBE_DNS_SERVICE_HOST": clusterIP}[name] }
		f.detect = func() proxymode.Mode {
			if time.Since(begin) < after {
				return proxymode.None
			}
			return proxymode.IPVS
		}
		err = f.Resolve()
		took = time.Since(begin)
	})
	return o, said, took, err
}

func TestResolve(t *testing.T) {
	const (
		waiting = "Waiting up to 10s for kube-proxy: its mode says which addresses to take"
		ipvs    = "Local addresses 169.254.20.10: kube-proxy in IPVS mode; name it to the pods (clusterDNS of the kubelet)"
		never   = time.Hour
	)
	for _, tt := range []struct {
		name, flags, clusterIP string
		patience, after, took  time.Duration
		want                   string
		said                   []string
	}{
		{"at once", "-localip auto", "10.96.0.10", ProxyPatience, 0, 0, "169.254.20.10", []string{ipvs}},
		{"without a link", "-localip auto -setupinterface=false", "10.96.0.10", ProxyPatience, 0, 0, "169.254.20.10", []string{ipvs}},
		{"later", "-localip auto", "10.96.0.10", ProxyPatience, 2 * time.Second, 2 * time.Second, "169.254.20.10", []string{waiting, ipvs}},
		{"never", "-localip auto", "10.96.0.10", ProxyPatience, never, ProxyPatience, "169.254.20.10 10.96.0.10",
			[]string{waiting, "Local addresses 169.254.20.10 10.96.0.10: no kube-proxy found"}},
		{"one look", "-localip auto", "10.96.0.10", 0, never, 0, "169.254.20.10 10.96.0.10",
			[]string{"Local addresses 169.254.20.10 10.96.0.10: no kube-proxy found"}},
		{"no Kubernetes", "-localip auto", "", ProxyPatience, never, 0, "169.254.20.10",
			[]string{"Local addresses 169.254.20.10: no kube-proxy found, and KUBE_DNS_SERVICE_HOST is not set"}},
		{"not auto", "-localip 10.0.0.1", "10.96.0.10", ProxyPatience, never, 0, "10.0.0.1", nil},
		{"no flags", "", "10.96.0.10", ProxyPatience, never, 0, "169.254.20.10", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, said, took, err := find(t, tt.flags, tt.clusterIP, tt.patience, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			if words.Join(o.Addresses) != tt.want || !slices.Equal(said, tt.said) || took != tt.took {
				t.Errorf("got %s after %s, said:\n%s", words.Join(o.Addresses), took, strings.Join(said, "\n"))
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	for _, tt := range []struct {
		flags, clusterIP, want string
	}{
		{"-localip auto", "kube", `environment variable KUBE_DNS_SERVICE_HOST: "kube" is not an IP address`},
		{"-localip auto", "127.0.0.1", "environment variable KUBE_DNS_SERVICE_HOST: 127.0.0.1 is a loopback address, which no Service has"},
	} {
		_, said, _, err := find(t, tt.flags, tt.clusterIP, 0, time.Hour)
		if err == nil || err.Error() != tt.want || len(said) > 0 {
			t.Errorf("%s, %s:\ngot  %v, said %q\nwant %s", tt.flags, tt.clusterIP, err, said, tt.want)
		}
	}
}

// TestAutoIsRendered makes sure that the Corefile is of the addresses that were found.
func TestAutoIsRendered(t *testing.T) {
	n := newNode(t)
	writeFile(t, n.dir, "Corefile.base", template)
	l := n.renderer(t, "-localip auto -basecorefile DIR/Corefile.base")
	f := NewFinder(l.Opts, 0, func(string) {})
	f.Getenv, f.detect = l.Getenv, func() proxymode.Mode { return proxymode.NFTables }
	if err := f.Resolve(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(c.Text), "nodelocal 169.254.20.10 10.96.0.10 {\n        fallback 10.96.0.10\n", "bind 169.254.20.10 10.96.0.10\n")
}

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
		if words.Join(c.Addresses) != tt.addrs || words.Join(c.Fallback) != tt.fallback || ok != (tt.addrs != "") {
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
	if c, ok := l.Foreseen(); !ok || words.Join(c.Addresses) != "169.254.20.10 10.96.0.10" {
		t.Errorf("%t, %v", ok, c.Addresses)
	}
}
