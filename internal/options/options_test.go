// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func addrs(s ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range s {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

// defaults is what no flag at all means.
func defaults() options {
	return options{
		localIPs: addrs("169.254.20.10"), baseCorefile: "/etc/coredns/Corefile.base", upstreamSvc: "kube-dns",
		clusterDomain: "cluster.local", setupInterface: true, interfaceName: "nodelocaldns", link: "auto",
		lease: 3 * time.Second, setupIPTables: true, firewall: "auto", uplink: "auto", syncInterval: 30 * time.Second, port: 53,
		fallbackZone: 20, stateDir: "/run/nodelocaldns", healthPort: 8080, metricsAddr: "0.0.0.0:9353", prometheusAddr: ":9253",
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		args string // separated by spaces; '' is an empty argument
		want func(*options)
	}{
		{"", func(o *options) {}},
		// The arguments of the reference's manifest.
		{"-localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream -pidfile /tmp/node-cache.pid", func(o *options) {
			o.mode, o.localIPs, o.conf = runTemplate, addrs("169.254.20.10", "10.96.0.10"), "/etc/Corefile"
			o.upstreamSvc, o.pidFile = "kube-dns-upstream", "/tmp/node-cache.pid"
		}},
		{"--localip=fd00::a,169.254.20.10,fd00::a", func(o *options) { o.mode, o.localIPs = runTemplate, addrs("fd00::a", "169.254.20.10") }},
		{"-localip 10.0.0.1,", func(o *options) { o.mode, o.localIPs = runTemplate, addrs("10.0.0.1") }},
		{"-localip ::ffff:10.0.0.1", func(o *options) { o.mode, o.localIPs = runTemplate, addrs("10.0.0.1") }},
		{"-localip auto -conf a", func(o *options) { o.mode, o.localIPs, o.auto, o.conf = runTemplate, nil, true, "a" }},
		{"-localip auto -link none", func(o *options) { o.mode, o.localIPs, o.auto, o.link = runTemplate, nil, true, "none" }},
		{"-localip auto -localip 10.0.0.1", func(o *options) { o.mode, o.localIPs = runTemplate, addrs("10.0.0.1") }},
		{"-conf a", func(o *options) { o.mode, o.localIPs, o.conf = runConf, nil, "a" }},
		{"-corefile a", func(o *options) { o.mode, o.localIPs, o.conf, o.corefile = runConf, nil, "a", "a" }},
		{"-corefile a -conf b", func(o *options) { o.mode, o.localIPs, o.conf, o.corefile = runConf, nil, "b", "a" }},
		{"-localip 10.0.0.1 -basecorefile a -kubednscm b", func(o *options) {
			o.mode, o.localIPs, o.baseCorefile, o.kubeDNSDir = runTemplate, addrs("10.0.0.1"), "a", "b"
		}},
		{"-setupinterface=false", func(o *options) { o.setupInterface, o.link = false, "none" }},
		{"-setupinterface=false -link none", func(o *options) { o.setupInterface, o.link = false, "none" }},
		{"-setupiptables=false", func(o *options) { o.setupIPTables, o.firewall = false, "none" }},
		{"-uplink open", func(o *options) { o.uplink = "open" }},
		{"-link tun -firewall nftables -interfacename dns0", func(o *options) { o.link, o.firewall, o.interfaceName = "tun", "nftables", "dns0" }},
		{"-lease 0", func(o *options) { o.lease = 0 }},
		{"-lease 5", func(o *options) { o.lease = 5 * time.Second }},
		{"-lease 1m", func(o *options) { o.lease = time.Minute }},
		{"-localip 127.0.0.1 -setupinterface=false -setupiptables=false", func(o *options) {
			o.mode, o.localIPs = runTemplate, addrs("127.0.0.1")
			o.setupInterface, o.link, o.setupIPTables, o.firewall = false, "none", false, "none"
		}},
		{"-syncinterval 60ns", func(o *options) { o.syncInterval = time.Minute }},
		{"-syncinterval 90", func(o *options) { o.syncInterval = 90 * time.Second }},
		{"-syncinterval 45s", func(o *options) { o.syncInterval = 45 * time.Second }},
		{"-syncinterval 5m", func(o *options) { o.syncInterval = 5 * time.Minute }},
		{"-syncinterval 1us", func(o *options) { o.syncInterval = 1000 * time.Second }},
		{"-fallback none", func(o *options) { o.fallback.off = true }},
		{"-fallback 10.96.0.10,fd00::1", func(o *options) { o.fallback.addrs = addrs("10.96.0.10", "fd00::1") }},
		{"-fallback-zone 700", func(o *options) { o.fallbackZone = 700 }},
		{"-skipteardown -reloadwithsignal -quiet", func(o *options) { o.skipTeardown, o.reloadWithSignal, o.quiet = true, true, true }},
		{"-dns.port 5353", func(o *options) { o.port = 5353 }},
		{"-p 5353", func(o *options) { o.port = 5353 }},
		{"-health-port 8081", func(o *options) { o.healthPort = 8081 }},
		{"-metrics-listen-address ''", func(o *options) { o.metricsAddr = "" }},
		{"-metrics-listen-address [::1]:9", func(o *options) { o.metricsAddr = "[::1]:9" }},
		{"-prometheus-listen-address localhost:9", func(o *options) { o.prometheusAddr = "localhost:9" }},
		{"-clusterdomain example.org.", func(o *options) { o.clusterDomain = "example.org" }},
		{"-statedir ''", func(o *options) { o.stateDir = "" }},
		{"-statedir /x/y", func(o *options) { o.stateDir = "/x/y" }},
		{"-version", func(o *options) { o.version = true }},
		{"-plugins", func(o *options) { o.plugins = true }},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got, err := parseOptions(split(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			tt.want(&want)
			want.given, want.words = got.given, got.words
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
		o, err := parseOptions(split(args))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(o.words, " "); got != want {
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
		{"-quiet main.go", `unexpected argument "main.go": write -conf main.go`},
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
		{"-fallback-zone 0", `invalid value "0" for flag -fallback-zone: not a conntrack zone (1 to 65535)`},
		{"-fallback-zone 65536", `invalid value "65536" for flag -fallback-zone: not a conntrack zone (1 to 65535)`},
		{"-localip 10.0.0.1,10.0.0.2 -fallback-zone 65535", "fallback zone 65535: want a conntrack zone from 1 to 65534, one for each address from there on"},
		{"-syncinterval soon", `invalid value "soon" for flag -syncinterval: not a duration such as 30s`},
		{"-syncinterval 0", `invalid value "0" for flag -syncinterval: less than a second`},
		{"-syncinterval 500ms", `invalid value "500ms" for flag -syncinterval: less than a second`},
		{"-syncinterval -30s", `invalid value "-30s" for flag -syncinterval: out of range`},
		{"-syncinterval 9999999999999", `invalid value "9999999999999" for flag -syncinterval: out of range`},
		{"-lease -1", `invalid value "-1" for flag -lease: out of range`},
		{"-lease 3x", `invalid value "3x" for flag -lease: not a duration such as 30s`},
		{"-dns.port 0", `invalid value "0" for flag -dns.port: not a port (1 to 65535)`},
		{"-p 65536", `invalid value "65536" for flag -p: not a port (1 to 65535)`},
		{"-health-port http", `invalid value "http" for flag -health-port: not a port (1 to 65535)`},
		{"-metrics-listen-address 9353", `invalid value "9353" for flag -metrics-listen-address: not HOST:PORT or :PORT`},
		{"-metrics-listen-address :0", `invalid value ":0" for flag -metrics-listen-address: not a port (1 to 65535)`},
		{"-prometheus-listen-address nowhere:1", `invalid value "nowhere:1" for flag -prometheus-listen-address: "nowhere" is not an IP address`},
		{"-interfacename nodelocaldns-12345", `invalid value "nodelocaldns-12345" for flag -interfacename: not a name for a link (1 to 14 characters, no / : % or space)`},
		{"-interfacename a/b", `invalid value "a/b" for flag -interfacename: not a name for a link (1 to 14 characters, no / : % or space)`},
		{"-link bridge", `invalid value "bridge" for flag -link: not one of auto, tun, dummy, none`},
		{"-uplink eth0", `invalid value "eth0" for flag -uplink: not one of auto, open`},
		{"-firewall ufw", `invalid value "ufw" for flag -firewall: not one of auto, iptables, nftables, none`},
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
		{"-statedir run", `invalid value "run" for flag -statedir: not an absolute path without spaces, quotes, braces, # and \`},
		{"-statedir /a{b", `invalid value "/a{b" for flag -statedir: not an absolute path without spaces, quotes, braces, # and \`},
		{"-basecorefile a", "-basecorefile needs -localip"},
		{"-localip 10.0.0.1 -basecorefile a -conf ./a", "-conf would overwrite the template a"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			_, err := parseOptions(split(tt.args))
			if err == nil {
				t.Fatal("no error")
			}
			if want := tt.want + "; see nodelocaldns -help"; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

// TestUsage makes sure that each flag is explained, and once.
func TestUsage(t *testing.T) {
	var names []string
	for _, g := range groups {
		names = append(names, g.names...)
	}
	want := []string{"help"}
	new(options).flagSet().VisitAll(func(f *flag.Flag) { want = append(want, f.Name) })
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("help text has %v\nwant %v", names, want)
	}
	var b bytes.Buffer
	usage(&b)
	for _, line := range []string{"  -localip IP,...\n", "  -quiet\n", " (default 0.0.0.0:9353)\n", " (default true)\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("help text lacks %q:\n%s", line, b.String())
		}
	}
}

// TestRenderOnly keeps the list honest: its flags exist.
func TestRenderOnly(t *testing.T) {
	fs := new(options).flagSet()
	for _, name := range renderOnly {
		if fs.Lookup(name) == nil {
			t.Errorf("there is no flag -%s", name)
		}
	}
}

func TestClosest(t *testing.T) {
	for word, want := range map[string]string{
		"forwrad": "forward", "forward": "forward", "foward": "forward", "chache": "cache", "log": "log",
		"lgo": "log", "x": "", "kubernets": "", "error": "errors", "helth": "health",
	} {
		if got := closest(word, directives); got != want {
			t.Errorf("closest(%q) = %q, want %q", word, got, want)
		}
	}
}
