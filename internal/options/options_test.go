// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

func addrs(s ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range s {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

// defaults is what no flag at all means.
func defaults() Options {
	return Options{
		Network: Network{
			Config: hostnet.Config{
				Addresses: addrs("169.254.20.10"), Interface: "nodelocaldns", Link: "auto", Firewall: "auto", Uplink: "auto", Port: 53, HealthPort: 8080,
				Lease: 3 * time.Second, FallbackZone: 20,
			},
			Resync: 30 * time.Second,
		},
		BaseCorefile: "/etc/coredns/Corefile.base", UpstreamService: "kube-dns", ClusterDomain: "cluster.local", setupInterface: true, setupIPTables: true,
		StateDir: "/run/nodelocaldns", MetricsAddr: "0.0.0.0:9353", PrometheusAddr: ":9253",
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		args string // separated by spaces; '' is an empty argument
		want func(*Options)
	}{
		{"", func(o *Options) {}},
		// The arguments of the reference's manifest.
		{"-localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream -pidfile /tmp/node-cache.pid", func(o *Options) {
			o.Mode, o.Addresses, o.Conf = Template, addrs("169.254.20.10", "10.96.0.10"), "/etc/Corefile"
			o.UpstreamService, o.PIDFile = "kube-dns-upstream", "/tmp/node-cache.pid"
		}},
		{"--localip=fd00::a,169.254.20.10,fd00::a", func(o *Options) { o.Mode, o.Addresses = Template, addrs("fd00::a", "169.254.20.10") }},
		{"-localip 10.0.0.1,", func(o *Options) { o.Mode, o.Addresses = Template, addrs("10.0.0.1") }},
		{"-localip ::ffff:10.0.0.1", func(o *Options) { o.Mode, o.Addresses = Template, addrs("10.0.0.1") }},
		{"-localip auto -conf a", func(o *Options) { o.Mode, o.Addresses, o.Auto, o.Conf = Template, nil, true, "a" }},
		{"-localip auto -link none", func(o *Options) { o.Mode, o.Addresses, o.Auto, o.Link = Template, nil, true, "none" }},
		{"-localip auto -localip 10.0.0.1", func(o *Options) { o.Mode, o.Addresses = Template, addrs("10.0.0.1") }},
		{"-conf a", func(o *Options) { o.Mode, o.Addresses, o.Conf = AsItIs, nil, "a" }},
		{"-corefile a", func(o *Options) { o.Mode, o.Addresses, o.Conf, o.older = AsItIs, nil, "a", "a" }},
		{"-corefile a -conf b", func(o *Options) { o.Mode, o.Addresses, o.Conf, o.older = AsItIs, nil, "b", "a" }},
		{"-localip 10.0.0.1 -basecorefile a -kubednscm b", func(o *Options) {
			o.Mode, o.Addresses, o.BaseCorefile, o.KubeDNSDir = Template, addrs("10.0.0.1"), "a", "b"
		}},
		{"-setupinterface=false", func(o *Options) { o.setupInterface, o.Link = false, "none" }},
		{"-setupinterface=false -link none", func(o *Options) { o.setupInterface, o.Link = false, "none" }},
		{"-setupiptables=false", func(o *Options) { o.setupIPTables, o.Firewall = false, "none" }},
		{"-uplink open", func(o *Options) { o.Uplink = "open" }},
		{"-link tun -firewall nftables -interfacename dns0", func(o *Options) { o.Link, o.Firewall, o.Interface = "tun", "nftables", "dns0" }},
		{"-lease 0", func(o *Options) { o.Lease = 0 }},
		{"-lease 5", func(o *Options) { o.Lease = 5 * time.Second }},
		{"-lease 1m", func(o *Options) { o.Lease = time.Minute }},
		{"-localip 127.0.0.1 -setupinterface=false -setupiptables=false", func(o *Options) {
			o.Mode, o.Addresses = Template, addrs("127.0.0.1")
			o.setupInterface, o.Link, o.setupIPTables, o.Firewall = false, "none", false, "none"
		}},
		{"-syncinterval 60ns", func(o *Options) { o.Resync = time.Minute }},
		{"-syncinterval 90", func(o *Options) { o.Resync = 90 * time.Second }},
		{"-syncinterval 45s", func(o *Options) { o.Resync = 45 * time.Second }},
		{"-syncinterval 5m", func(o *Options) { o.Resync = 5 * time.Minute }},
		{"-syncinterval 1us", func(o *Options) { o.Resync = 1000 * time.Second }},
		{"-fallback none", func(o *Options) {}},
		{"-fallback 10.96.0.10,fd00::1", func(o *Options) { o.Fallback = addrs("10.96.0.10", "fd00::1") }},
		{"-fallback-zone 700", func(o *Options) { o.FallbackZone = 700 }},
		{"-skipteardown -reloadwithsignal -quiet", func(o *Options) { o.SkipTeardown, o.ReloadWithSignal, o.Quiet = true, true, true }},
		{"-log-timestamps", func(o *Options) { o.LogTimestamps = true }},
		{"-dns.port 5353", func(o *Options) { o.Port = 5353 }},
		{"-p 5353", func(o *Options) { o.Port = 5353 }},
		{"-health-port 8081", func(o *Options) { o.HealthPort = 8081 }},
		{"-metrics-listen-address ''", func(o *Options) { o.MetricsAddr = "" }},
		{"-metrics-listen-address [::1]:9", func(o *Options) { o.MetricsAddr = "[::1]:9" }},
		{"-prometheus-listen-address localhost:9", func(o *Options) { o.PrometheusAddr = "localhost:9" }},
		{"-clusterdomain example.org.", func(o *Options) { o.ClusterDomain = "example.org" }},
		{"-statedir ''", func(o *Options) { o.StateDir = "" }},
		{"-statedir /x/y", func(o *Options) { o.StateDir = "/x/y" }},
		{"-version", func(o *Options) { o.Version = true }},
		{"-plugins", func(o *Options) { o.Plugins = true }},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got, err := Parse(split(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			tt.want(&want)
			want.Given, want.Words = got.Given, got.Words
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

// TestWords: of the flags, those that end up in the Corefile or in the network.
func TestWords(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "",
		"-statedir /x -quiet -pidfile x": "",
		"-metrics-listen-address '' -reloadwithsignal":                "",
		"-lease 5 -localip 10.0.0.1 -setupiptables=false -pidfile /x": "lease=5 localip=10.0.0.1 setupiptables=false",
		"-localip 10.0.0.1 -setupiptables=false -lease 5":             "lease=5 localip=10.0.0.1 setupiptables=false",
	} {
		o, err := Parse(split(args))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(o.Words, " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func split(args string) []string {
	fields := strings.Fields(args)
	for i, f := range fields {
		fields[i] = strings.Trim(f, "'")
	}
	return fields
}

func TestOptionErrors(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-foo", "unknown flag -foo"},
		{"-localips 10.0.0.1", "unknown flag -localips (did you mean -localip?)"},
		{"-conf", "flag needs an argument: -conf"},
		{"run", `unexpected argument "run"`},
		{"-quiet yes", `unexpected argument "yes": write -quiet=true`},
		{"-setupinterface false -conf x", `unexpected argument "false": write -setupinterface=false`},
		{"--skipteardown True", `unexpected argument "True": write -skipteardown=true`},
		{"-quiet here", `unexpected argument "here"`},
		{"-conf x false", `unexpected argument "false"`},
		{"localip=10.0.0.1", `unexpected argument "localip=10.0.0.1": write -localip=10.0.0.1`},
		{"-localip 10.0.0.1, 10.0.0.2", `unexpected argument "10.0.0.2": a list has no spaces in it`},
		{"-localip 10.0.0.1 render", `unexpected argument "render": a command comes before all flags, nodelocaldns render ...`},
		{"-localip 10.0.0.1 10.0.0.2", `unexpected argument "10.0.0.2": separate addresses by commas`},
		{"-quiet args.go", `unexpected argument "args.go": write -conf args.go`},
		{"-localip __PILLAR__LOCAL__DNS__", `invalid value "__PILLAR__LOCAL__DNS__" for flag -localip: "__PILLAR__LOCAL__DNS__" is not an IP address, but a variable of the manifest that was to be replaced before`},
		{"-localip $(POD_IP)", `invalid value "$(POD_IP)" for flag -localip: "$(POD_IP)" is not an IP address, but an environment variable that this container does not have`},
		{"-f Corefile", "unknown flag -f"},
		{"-quiet=maybe", `invalid boolean value "maybe" for -quiet: want true or false`},
		{"-localip 10.0.0", `invalid value "10.0.0" for flag -localip: "10.0.0" is not an IP address`},
		{"-localip 10.0.0.1,,", `invalid value "10.0.0.1,," for flag -localip: "" is not an IP address`},
		{"-localip 10.0.0.1/32", `invalid value "10.0.0.1/32" for flag -localip: "10.0.0.1/32" is not an IP address: write 10.0.0.1`},
		{"-localip [fd00::a]:53", `invalid value "[fd00::a]:53" for flag -localip: "[fd00::a]:53" is not an IP address: write fd00::a`},
		{"-localip fe80::1%eth0", `invalid value "fe80::1%eth0" for flag -localip: fe80::1%eth0 has a zone, which no address of a cache or Service has`},
		{"-localip 0.0.0.0", `invalid value "0.0.0.0" for flag -localip: 0.0.0.0 is the unspecified address, not that of one host`},
		{"-localip 224.0.0.1", `invalid value "224.0.0.1" for flag -localip: 224.0.0.1 is a multicast address, not that of one host`},
		{"-fallback 255.255.255.255", `invalid value "255.255.255.255" for flag -fallback: 255.255.255.255 is the broadcast address, not that of one host`},
		{"-localip auto,1.2.3.4", `invalid value "auto,1.2.3.4" for flag -localip: auto finds the addresses itself: give it alone, or name all of them`},
		{"-localip 1.2.3.4,auto", `invalid value "1.2.3.4,auto" for flag -localip: auto finds the addresses itself: give it alone, or name all of them`},
		{"-localip autos", `invalid value "autos" for flag -localip: "autos" is not an IP address`},
		{"-localip auto -lease 1500ms", "lease 1.5s: want 0 or whole seconds from 2s to 1h"},
		{"-localip auto -conf /etc/coredns/Corefile.base", "-conf would overwrite the template /etc/coredns/Corefile.base"},
		{"-fallback None", `invalid value "None" for flag -fallback: "None" is not an IP address`},
		{"-fallback-zone 0", `invalid value "0" for flag -fallback-zone: want a conntrack zone from 1 to 65535`},
		{"-fallback-zone 65536", `invalid value "65536" for flag -fallback-zone: want a conntrack zone from 1 to 65535`},
		{"-localip 10.0.0.1,10.0.0.2 -fallback-zone 65535", "fallback zone 65535: want a conntrack zone from 1 to 65534, one for each address from there on"},
		{"-syncinterval soon", `invalid value "soon" for flag -syncinterval: want a duration such as 3s`},
		{"-syncinterval 0", `invalid value "0" for flag -syncinterval: want at least 1s`},
		{"-syncinterval 500ms", `invalid value "500ms" for flag -syncinterval: want at least 1s`},
		{"-syncinterval -30s", `invalid value "-30s" for flag -syncinterval: want no negative duration`},
		{"-syncinterval 9999999999999", `invalid value "9999999999999" for flag -syncinterval: want a duration such as 3s`},
		{"-lease -1", `invalid value "-1" for flag -lease: want no negative duration`},
		{"-lease 3x", `invalid value "3x" for flag -lease: want a duration such as 3s`},
		{"-dns.port 0", `invalid value "0" for flag -dns.port: want a port from 1 to 65535`},
		{"-p 65536", `invalid value "65536" for flag -p: want a port from 1 to 65535`},
		{"-health-port http", `invalid value "http" for flag -health-port: want a port from 1 to 65535, or 0 for none`},
		{"-metrics-listen-address 9353", `invalid value "9353" for flag -metrics-listen-address: not HOST:PORT or :PORT`},
		{"-metrics-listen-address :0", `invalid value ":0" for flag -metrics-listen-address: want a port from 1 to 65535`},
		{"-prometheus-listen-address nowhere:1", `invalid value "nowhere:1" for flag -prometheus-listen-address: "nowhere" is not an IP address`},
		{"-interfacename nodelocaldns-12345", `invalid value "nodelocaldns-12345" for flag -interfacename: want 1 to 14 characters without space, slash, colon or percent sign`},
		{"-interfacename a/b", `invalid value "a/b" for flag -interfacename: want 1 to 14 characters without space, slash, colon or percent sign`},
		{"-link bridge", `invalid value "bridge" for flag -link: want auto, tun, dummy or none`},
		{"-uplink eth0", `invalid value "eth0" for flag -uplink: want auto or open`},
		{"-firewall ufw", `invalid value "ufw" for flag -firewall: want auto, iptables, nftables or none`},
		{"-clusterdomain a..b", `invalid value "a..b" for flag -clusterdomain: not a domain name: a label is empty`},
		{"-clusterdomain cluster.local:53", `invalid value "cluster.local:53" for flag -clusterdomain: not a domain name: character ':' in label "local:53"; letters, digits, hyphens and underscores are allowed`},
		{"-upstreamsvc kube.dns", `invalid value "kube.dns" for flag -upstreamsvc: not the name of a Service: letters, digits and hyphens, without a namespace, as kube-dns`},
		{"-upstreamsvc kube-system/kube-dns", `invalid value "kube-system/kube-dns" for flag -upstreamsvc: not the name of a Service: letters, digits and hyphens, without a namespace, as kube-dns`},
		{"-upstreamsvc=", `invalid value "" for flag -upstreamsvc: not the name of a Service: letters, digits and hyphens, without a namespace, as kube-dns`},
		{"-setupinterface=false -link tun", "-setupinterface=false contradicts -link tun"},
		{"-setupiptables=false -firewall auto", "-setupiptables=false contradicts -firewall auto"},
		{"-conf a -link tun", "-link has no effect on a, which runs as it is without -localip"},
		{"-lease 1500ms", "lease 1.5s: want 0 or whole seconds from 2s to 1h"},
		{"-fallback 10.0.0.1,10.0.0.2", "fallback 10.0.0.2: 10.0.0.1 is given already; one address a family"},
		{"-localip 127.0.0.1", "address 127.0.0.1: a loopback address cannot be put on a link of its own"},
		{"-localip auto -fallback-zone 65535", "fallback zone 65535: want a conntrack zone from 1 to 65534, one for each address from there on"},
		{"-statedir run", `invalid value "run" for flag -statedir: not an absolute path without spaces, quotes, braces, # and \`},
		{"-statedir /a{b", `invalid value "/a{b" for flag -statedir: not an absolute path without spaces, quotes, braces, # and \`},
		{"-basecorefile a", "-basecorefile needs -localip"},
		{"-localip 10.0.0.1 -basecorefile a -conf ./a", "-conf would overwrite the template a"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			_, err := Parse(split(tt.args))
			if err == nil {
				t.Fatal("no error")
			}
			if want := tt.want + "; see nodelocaldns -help"; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

// TestHelp makes sure that each flag is explained, and once.
func TestHelp(t *testing.T) {
	var b strings.Builder
	PrintFlags(&b)
	for _, row := range Table {
		if n := strings.Count(b.String(), "\n  -"+row.Flag+" ") + strings.Count(b.String(), "\n  -"+row.Flag+"\n"); n != 1 || row.Help == "" {
			t.Errorf("-%s is explained %d times: %s", row.Flag, n, row.Help)
		}
	}
	for _, line := range []string{"  -localip IP,...\n", "  -quiet\n", "  -help\n", " (default 0.0.0.0:9353)\n", " (default true)\n", "link: auto, tun, dummy or none (default auto)\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("help text lacks %q:\n%s", line, b.String())
		}
	}
}

// TestTable: a flag and a word stand for one option, and what a flag means the stanza can say.
func TestTable(t *testing.T) {
	flags, words := map[string]bool{}, map[string]bool{}
	for _, row := range Table {
		if flags[row.Flag] || row.Word != "" && (words[row.Word] || row.effect != rendered) {
			t.Errorf("-%s, %q: twice, or in the stanza and not in the rendered Corefile alone", row.Flag, row.Word)
		}
		flags[row.Flag], words[row.Word] = true, true
	}
}

// TestStanzaRoundTrip: what the flags put into a stanza is read from it.
func TestStanzaRoundTrip(t *testing.T) {
	for args, want := range map[string]string{
		"":                                   "",
		"-setupiptables=false -lease 5":      "[[firewall none] [lease 5s]]",
		"-syncinterval 60ns -skipteardown":   "[[resync 1m0s] [skip_teardown]]",
		"-skipteardown=false -lease 0":       "[[lease 0s]]",
		"-fallback none -link none":          "[[link none] [fallback none]]",
		"-fallback 10.96.0.10,fd00::1 -p 54": "[[fallback 10.96.0.10 fd00::1]]",
		"-interfacename x -link tun -firewall nftables -uplink open -health-port 0 -fallback-zone 700": "[[interface x] [link tun] [firewall nftables] [uplink open] [health_port 0] [fallback_zone 700]]",
	} {
		o, err := Parse(split(args))
		if err != nil {
			t.Fatal(err)
		}
		lines := o.Stanza()
		if got := strings.TrimPrefix(fmt.Sprint(lines), "[]"); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
		read := Defaults()
		for _, line := range lines {
			if err := read.SetWord(line[0], line[1:]); err != nil {
				t.Errorf("%s: %v", args, err)
			}
		}
		read.Addresses, read.Port = o.Addresses, o.Port // which the stanza has from its head and its server block
		if !reflect.DeepEqual(read.Network, o.Network) {
			t.Errorf("%s: read %+v, want %+v", args, read.Network, o.Network)
		}
	}
}
