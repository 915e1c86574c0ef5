// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

func defaults() options {
	return options{
		Config: hostnet.Config{Interface: "nodelocaldns", Link: "auto", Firewall: "auto", Uplink: "auto", HealthPort: 8080, Lease: 3 * time.Second, FallbackZone: 20},
		Resync: 30 * time.Second,
	}
}

func TestParse(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tc := range []struct {
		name, in string
		want     func(*options)
	}{
		{"nothing", "nodelocal", func(*options) {}},
		{"addresses", "nodelocal 169.254.20.10 fd00::10", func(o *options) {
			o.Addresses = []netip.Addr{addr("169.254.20.10"), addr("fd00::10")}
		}},
		{"everything", `nodelocal 169.254.20.10 {
			interface dns0
			link dummy
			firewall nftables
			uplink open
			lease 0
			resync 1m
			health_port 0
			fallback 10.96.0.10 fd00:96::a
			fallback_zone 700
			skip_teardown
		}`, func(o *options) {
			*o = options{Config: hostnet.Config{
				Interface: "dns0", Link: "dummy", Firewall: "nftables", Uplink: "open",
				Addresses: []netip.Addr{addr("169.254.20.10")},
				Fallback:  []netip.Addr{addr("10.96.0.10"), addr("fd00:96::a")}, FallbackZone: 700,
			}, Resync: time.Minute, SkipTeardown: true}
		}},
		{"no fallback", "nodelocal {\n fallback none\n}", func(*options) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := defaults()
			tc.want(&want)
			got, _, err := parse(caddy.NewTestController("dns", tc.in))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"nodelocal nowhere":                `Testfile:1 - Error during parsing: "nowhere" is not an IP address`,
		"nodelocal\nnodelocal":             `Testfile:2 - Error during parsing: given twice in one server block`,
		"nodelocal {\n lease\n}":           `Testfile:2 - Error during parsing: lease: want one value, got 0`,
		"nodelocal {\n lease 3\n}":         `Testfile:2 - Error during parsing: lease "3": want a duration such as 3s`,
		"nodelocal {\n resync 10ms\n}":     `Testfile:2 - Error during parsing: resync "10ms": want at least 1s`,
		"nodelocal {\n health_port x\n}":   `Testfile:2 - Error during parsing: health_port "x": want a port from 1 to 65535, or 0 for none`,
		"nodelocal {\n link veth\n}":       `Testfile:2 - Error during parsing: link "veth": want auto, tun, dummy or none`,
		"nodelocal {\n firewall ufw\n}":    `Testfile:2 - Error during parsing: firewall "ufw": want auto, iptables, nftables or none`,
		"nodelocal {\n uplink eth0\n}":     `Testfile:2 - Error during parsing: uplink "eth0": want auto or open`,
		"nodelocal {\n fallback\n}":        `Testfile:2 - Error during parsing: fallback: want a value`,
		"nodelocal {\n fallback x\n}":      `Testfile:2 - Error during parsing: fallback "x": "x" is not an IP address`,
		"nodelocal {\n fallback_zone 0\n}": `Testfile:2 - Error during parsing: fallback_zone "0": want a conntrack zone from 1 to 65535`,
		"nodelocal {\n fallback_zone x\n}": `Testfile:2 - Error during parsing: fallback_zone "x": want a conntrack zone from 1 to 65535`,
		"nodelocal {\n skip_teardown 1\n}": `Testfile:2 - Error during parsing: skip_teardown: want no value, got 1`,
		"nodelocal {\n intreface x\n}":     `Testfile:2 - Error during parsing: unknown option "intreface": known are interface, link, firewall, uplink, lease, resync, health_port, fallback, fallback_zone, skip_teardown`,
	} {
		if _, _, err := parse(caddy.NewTestController("dns", in)); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestSecondStanza(t *testing.T) {
	corefile := func(second string) string {
		return "a.example:0 {\n nodelocal 169.254.20.10\n}\nb.example:0 {\n nodelocal " + second + "\n}\n"
	}
	for second, want := range map[string]string{
		"169.254.20.10": "",
		"169.254.20.11": "plugin/nodelocal: Corefile:5: differs from the stanza at Corefile:2: the node has one network, so say the same in each",
	} {
		if got := validate(t, corefile(second)); got != want {
			t.Errorf("%s: got %q, want %q", second, got, want)
		}
	}
}

// validate runs the setup of the directives in corefile and nothing else.
func validate(t *testing.T, corefile string) string {
	t.Helper()
	useDirectives(t)
	in := caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(corefile), ServerTypeName: "dns"}
	if err := caddy.ValidateAndExecuteDirectives(in, nil, true); err != nil {
		return err.Error()
	}
	return ""
}

// TestSelfQueriesOfEveryBlock has server blocks that get the self-queries in the place of the one with the stanza.
func TestSelfQueriesOfEveryBlock(t *testing.T) {
	const stanza = " nodelocal {\n  link none\n  firewall none\n }\n"
	for _, tc := range []struct{ name, corefile, zone string }{
		{"own block", "cluster.local.:0 {\n" + stanza + " bind 127.0.0.1\n}\n", "cluster.local."},
		{"zone below", "cluster.local.:0 {\n" + stanza + " bind 127.0.0.1\n}\nnodelocaldns.cluster.local:0 {\n bind 127.0.0.1\n errors\n}\n", "cluster.local."},
		{"zone of the name", "cluster.local.:0 {\n" + stanza + " bind 127.0.0.1\n}\nselfquery.nodelocaldns.cluster.local:0 {\n bind 127.0.0.1\n}\n", "cluster.local."},
		{"below the root", ".:0 {\n" + stanza + " bind 127.0.0.1\n}\nnodelocaldns:0 {\n bind 127.0.0.1\n}\n", ""},
		{"second key", ".:0 {\n" + stanza + " bind 127.0.0.1\n}\nother.example:0 nodelocaldns:0 {\n bind 127.0.0.1\n}\n", ""},
		{"block in front", "nodelocaldns.cluster.local:0 {\n bind 127.0.0.1\n}\ncluster.local.:0 {\n" + stanza + " bind 127.0.0.1\n}\n", "cluster.local."},
		{"both have the stanza", ".:0 {\n" + stanza + " bind 127.0.0.1\n}\nnodelocaldns:0 {\n" + stanza + " bind 127.0.0.1\n}\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := serve(t, tc.corefile)
			m, err := dns.Exchange(new(dns.Msg).SetQuestion("a."+selfLabels+tc.zone, dns.TypeTXT), server)
			if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.TXT).Txt[0] != theNode.token {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

// serve runs corefile, and returns the address of one UDP socket for all its blocks.
func serve(t *testing.T, corefile string) string {
	t.Helper()
	useDirectives(t)
	in := caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(corefile), ServerTypeName: "dns"}
	inst, err := caddy.Start(in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inst.Stop(); err != nil {
			t.Error(err)
		}
	})
	return inst.Servers()[0].LocalAddr().String()
}

// useDirectives has CoreDNS know these directives and no others.
func useDirectives(t *testing.T) {
	t.Helper()
	old := dnsserver.Directives
	t.Cleanup(func() { dnsserver.Directives = old })
	dnsserver.Directives = []string{"nodelocal", "bind", "errors", "cache", "loop", "forward", "prometheus", "health"}
}

func TestExamplesOfTheREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(readme), "~~~ corefile\n")[1:]
	if len(examples) != 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		e, _, _ = strings.Cut(e, "~~~")
		if msg := validate(t, e); msg != "" {
			t.Errorf("%s\n%s", msg, e)
		}
	}
}

func TestComplete(t *testing.T) {
	config := func(hosts ...string) *dnsserver.Config {
		return &dnsserver.Config{Zone: "cluster.local.", Port: "53", ListenHosts: hosts}
	}
	for _, tc := range []struct {
		name, in, want string
		config         *dnsserver.Config
		addrs          string
	}{
		{"from bind", "nodelocal", "", config("169.254.20.10", "fd00::10"), "169.254.20.10 fd00::10"},
		{"own", "nodelocal 169.254.20.10", "", config("169.254.20.10", "10.96.0.10"), "169.254.20.10"},
		{"wildcard", "nodelocal 169.254.20.10", "", config(""), "169.254.20.10"},
		{"neither", "nodelocal", "no address: name the cache's addresses, or bind the server block to them", config(""), ""},
		{"not bound", "nodelocal 10.96.0.10", "address 10.96.0.10: no server would answer there: add it to the bind line of the same server block", config("169.254.20.10"), ""},
		{"loopback", "nodelocal 127.0.0.1", "address 127.0.0.1: a loopback address cannot be put on a link of its own", config("127.0.0.1"), ""},
		{"lease", "nodelocal 169.254.20.10 {\n lease 1s\n}", "lease 1s: want 0 or whole seconds from 2s to 1h", config(""), ""},
		{"zones", "nodelocal 10.0.0.1 10.0.0.2 {\n fallback_zone 65535\n}",
			"fallback zone 65535: want a conntrack zone from 1 to 65534, one for each address from there on", config(""), ""},
		{"nothing owned", "nodelocal {\n link none\n firewall none\n}", "", config(""), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, _, err := parse(caddy.NewTestController("dns", tc.in))
			if err != nil {
				t.Fatal(err)
			}
			s, err := complete(o, tc.config)
			if got := errorText(err); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			if err == nil && (addrList(s.Addresses) != tc.addrs || s.Port != 53 || s.zone != "cluster.local.") {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
