// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

var (
	linkLocal = netip.MustParseAddr("169.254.20.10")
	clusterIP = netip.MustParseAddr("10.96.0.10")
)

// healthy is a node without a fault, whose cluster DNS is not known.
func healthy(t *testing.T) *Env {
	e := &Env{
		Addresses: []netip.Addr{linkLocal, clusterIP}, KubeDNS: clusterIP, Domain: "cluster.local", LinkName: "nodelocaldns", LinkKind: "auto", Firewall: "auto",
		Listeners: []Listener{{53, false, DNS}, {9253, true, "the metrics of DNS"}},
		Proc:      t.TempDir(), Root: t.TempDir(),
		Mode: func() proxymode.Mode { return proxymode.NFTables },
		Links: func() ([]Link, error) {
			return []Link{{Name: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}}, nil
		},
		Sockets:   func(string) ([]sockets.Socket, error) { return nil, nil },
		LookPath:  func(string) (string, error) { return "/usr/sbin/iptables", nil },
		HasTUN:    func() error { return nil },
		HasDummy:  func() error { return nil },
		HasTables: func() error { return nil },
	}
	e.ResolvConf = filepath.Join(e.Root, "resolv.conf")
	put(t, e.ResolvConf, "nameserver 192.0.2.53\n")
	put(t, e.Proc+"/self/status", "Name:\tx\nCapEff:\t00000000a80435fb\n")
	put(t, e.Proc+"/sys/net/ipv6/conf/all/disable_ipv6", "0\n")
	put(t, e.Proc+"/sys/net/ipv6/conf/default/disable_ipv6", "0\n")
	put(t, e.Proc+"/sys/net/netfilter/nf_conntrack_max", "1000\n")
	put(t, e.Proc+"/sys/net/netfilter/nf_conntrack_count", "10\n")
	put(t, e.Proc+"/thread-self/net/ipv6_route", strings.Repeat("0", 32)+" 00 "+strings.Repeat("0", 32)+" 00 fe80 00000400 00000001 00000000 00000003     eth0\n")
	return e
}

func put(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fails returns a function that fails with the text; "": that does not.
func fails(text string) func() error {
	return func() error {
		if text == "" {
			return nil
		}
		return errors.New(text)
	}
}

// answers serves the metrics of a cache that has been asked often.
func answers(t *testing.T, e *Env, denied, aaaa int) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE coredns_dns_responses_total counter\ncoredns_dns_responses_total{rcode=\"NXDOMAIN\",zone=\".\"} %d\ncoredns_dns_responses_total{rcode=\"NOERROR\",zone=\".\"} 500\n", denied)
		fmt.Fprintf(w, "# TYPE coredns_dns_requests_total counter\ncoredns_dns_requests_total{type=\"AAAA\"} %d\ncoredns_dns_requests_total{type=\"A\"} 500\n", aaaa)
	}))
	t.Cleanup(s.Close)
	e.Running, e.Metrics = true, strings.TrimPrefix(s.URL, "http://")
}

func TestNode(t *testing.T) {
	const manager = "/etc/NetworkManager/conf.d/cache.conf"
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *Env)
		want   string // ID SEVERITY: part of WHAT; empty: nothing
	}{
		{"healthy", nil, ""},
		{"no capability", func(t *testing.T, e *Env) { put(t, e.Proc+"/self/status", "CapEff\nCapEff:\t0000000000000000\n") }, "capabilities error: this process lacks the capability NET_ADMIN and NET_BIND_SERVICE"},
		{"no TUN", func(_ *testing.T, e *Env) { e.HasTUN = fails("no file") }, "link warning: no TUN link can be made: no file"},
		{"no TUN, which is wanted", func(_ *testing.T, e *Env) { e.HasTUN, e.LinkKind = fails("no file"), "tun" }, "link error: no TUN link can be made: no file"},
		{"no link", func(_ *testing.T, e *Env) { e.HasTUN, e.HasDummy = fails("no file"), fails("not supported") },
			"link error: the kernel makes no dummy link (not supported), and no TUN link (no file)"},
		{"no link is wanted", func(_ *testing.T, e *Env) { e.HasTUN, e.HasDummy, e.LinkKind = fails("x"), fails("x"), "none" }, ""},
		{"no nf_tables", func(_ *testing.T, e *Env) { e.HasTables = fails("not supported") }, "firewall warning: the kernel has no nf_tables"},
		{"no nf_tables, which is wanted", func(_ *testing.T, e *Env) { e.HasTables, e.Firewall = fails("not supported"), "nftables" }, "firewall error: the kernel has no nf_tables"},
		{"table of connections", func(t *testing.T, e *Env) { put(t, e.Proc+"/sys/net/netfilter/nf_conntrack_count", "950\n") }, "conntrack warning: the table of connections is nearly full: 950 of 1000"},
		{"Cilium", func(_ *testing.T, e *Env) { e.Mode = func() proxymode.Mode { return proxymode.Cilium } }, "kube-proxy warning: ClusterIPs are answered by Cilium"},
		{"leftover of the reference", func(_ *testing.T, e *Env) {
			e.Links = func() ([]Link, error) {
				return []Link{{Name: "nodelocaldns", Type: "dummy", Addresses: e.Addresses}}, nil
			}
		}, "other-cache warning: the link nodelocaldns is one of k8s-dns-node-cache"},
		{"k8s-dns-node-cache", func(t *testing.T, e *Env) { runs(t, e, "/node-cache") }, "other-cache error: node-cache runs on this node (pid 7)"},
		{"own process by its alias", func(t *testing.T, e *Env) { runs(t, e, "/nodelocaldns") }, ""},
		{"own link", func(_ *testing.T, e *Env) {
			e.Links = func() ([]Link, error) {
				return []Link{{Name: "nodelocaldns", Type: "tuntap", Ours: true, Addresses: e.Addresses}}, nil
			}
		}, ""},
		{"no resolv.conf", func(_ *testing.T, e *Env) { e.ResolvConf = "/none" }, "resolv.conf error: /none is not there"},
		{"search lists", func(t *testing.T, e *Env) { answers(t, e, 4500, 0) }, "ndots advice: 90 % of the answers say that there is no such name"},
		{"few answers", func(t *testing.T, e *Env) { answers(t, e, 400, 0) }, ""},
		{"AAAA", func(t *testing.T, e *Env) { answers(t, e, 0, 1500) }, ""},
		{"AAAA without IPv6", func(t *testing.T, e *Env) {
			answers(t, e, 0, 1500)
			put(t, e.Proc+"/thread-self/net/ipv6_route", "")
		}, "aaaa advice: 75 % of the questions are for IPv6 addresses"},
		{"NetworkManager", func(t *testing.T, e *Env) { put(t, e.Root+"/run/NetworkManager/x", "") }, "networkmanager warning: NetworkManager runs"},
		{"NetworkManager, another link", func(t *testing.T, e *Env) {
			put(t, e.Root+"/run/NetworkManager/x", "")
			put(t, e.Root+manager, "[keyfile]\n#unmanaged-devices=interface-name:nodelocaldns*\nunmanaged-devices=interface-name:cali*\n")
		}, "networkmanager warning: NetworkManager runs"},
		{"NetworkManager, told", func(t *testing.T, e *Env) {
			put(t, e.Root+"/run/NetworkManager/x", "")
			put(t, e.Root+manager, "[keyfile]\nunmanaged-devices+=interface-name:cali*;interface-name:nodelocaldns*\n")
		}, ""},
		{"networkd", func(t *testing.T, e *Env) {
			put(t, e.Root+"/run/systemd/netif/x", "")
			put(t, e.Root+"/etc/systemd/network/10-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")
		}, "networkd warning: systemd-networkd takes the link nodelocaldns for one of its own: /etc/systemd/network/10-all.network"},
		{"networkd, other links", func(t *testing.T, e *Env) {
			put(t, e.Root+"/run/systemd/netif/x", "")
			put(t, e.Root+"/etc/systemd/network/10-all.network", "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n")
			put(t, e.Root+"/usr/lib/systemd/network/20-all.network", "[Match]\nName=*\nType=ether\n[Network]\nDHCP=yes\n")
		}, ""},
		{"networkd, told", func(t *testing.T, e *Env) {
			put(t, e.Root+"/run/systemd/netif/x", "")
			put(t, e.Root+"/etc/systemd/network/00-cache.network", "[Match]\nName=nodelocaldns*\n[Link]\nUnmanaged=yes\n")
			put(t, e.Root+"/etc/systemd/network/10-all.network", "[Match]\nName=*\n")
		}, ""},
		{"sockets that cannot be listed", func(_ *testing.T, e *Env) {
			e.Sockets = func(string) ([]sockets.Socket, error) { return nil, errors.New("no /proc") }
		}, "port warning: no /proc"},
		{"dnsmasq", socket("0.0.0.0:53", "pid 7 (dnsmasq), user 0"), "port error: udp 0.0.0.0:53 is taken, the port for DNS: pid 7 (dnsmasq), user 0"},
		{"a stub resolver", socket("127.0.0.53:53", "pid 7 (systemd-resolve), user 101"), ""},
		{"own server", socket("169.254.20.10:53", "pid 7 (nodelocaldns), user 0"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := healthy(t)
			if tt.change != nil {
				tt.change(t, e)
			}
			found, ran := Run(t.Context(), e)
			var got []string
			for _, f := range found {
				if f.ID != "cluster-dns" { // nobody to ask
					got = append(got, fmt.Sprintf("%s %s: %s", f.ID, f.Severity, f.What))
				}
			}
			if len(got) > 1 && tt.name != "dnsmasq" || len(got) == 0 != (tt.want == "") || !strings.Contains(strings.Join(got, "\n"), tt.want) || ran != len(checks) {
				t.Errorf("%d checks, got:\n%s\nwant %s", ran, strings.Join(got, "\n"), tt.want)
			}
		})
	}
}

// socket has the node have a UDP socket.
func socket(at, owner string) func(*testing.T, *Env) {
	return func(_ *testing.T, e *Env) {
		e.Sockets = func(network string) ([]sockets.Socket, error) {
			return []sockets.Socket{{Local: netip.MustParseAddrPort(at), Bound: true}}, nil
		}
		e.Owner = func(sockets.Socket) string { return owner }
	}
}

// TestRunIsBounded has a check that does not end.
func TestRunIsBounded(t *testing.T) {
	e := healthy(t)
	hang := make(chan struct{})
	defer close(hang)
	e.HasTUN = func() error { <-hang; return nil }
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // enough for the others on a busy machine
	defer cancel()
	found, _ := Run(ctx, e)
	if len(found) != 2 || found[1].ID != "link" || Count(found) != 1 {
		t.Errorf("got %+v", found)
	}
}

func TestOutput(t *testing.T) {
	all := []Finding{{"ndots", Advice, "much is denied", "it costs", "write a dot"}, {"port", Error, "53 is taken", "the cache cannot listen", "stop it"}}
	var b strings.Builder
	if err := Table(&b, all); err != nil {
		t.Fatal(err)
	}
	want := "ERROR   port   53 is taken\n          why  the cache cannot listen\n          do   stop it\nADVICE  ndots  much is denied\n          why  it costs\n          do   write a dot\n"
	if got := b.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	b.Reset()
	if err := JSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
}

// runs makes a process seen that was started as node-cache, from a file.
func runs(t *testing.T, e *Env, file string) {
	t.Helper()
	put(t, e.Proc+"/7/comm", "node-cache\n")
	if err := os.Symlink(file, e.Proc+"/7/exe"); err != nil {
		t.Fatal(err)
	}
}
