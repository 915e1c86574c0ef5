// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// option is one of a stanza: a name and values, with spaces in between.
func option(lines ...string) (options [][]string) {
	for _, line := range lines {
		options = append(options, strings.Split(line, " "))
	}
	return options
}

// params returns those of a usual cluster, changed by change.
func params(change ...func(*Params)) Params {
	p := Params{
		LocalIPs:           addrs("169.254.20.10", "10.96.0.10"),
		ClusterDNS:         netip.MustParseAddr("10.96.45.53"),
		UpstreamService:    "kube-dns-upstream",
		ClusterDomain:      "cluster.local",
		PrometheusEndpoint: ":9253",
		ResolvConf:         ResolvConf{Path: "/etc/resolv.conf", Text: []byte("nameserver 192.0.2.1\n")},
		Port:               53,
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func stub(domain string, servers ...string) func(*Params) {
	return func(p *Params) {
		if p.KubeDNS.StubDomains == nil {
			p.KubeDNS.StubDomains = map[string][]string{}
		}
		p.KubeDNS.StubDomains[domain] = servers
	}
}

func upstream(servers ...string) func(*Params) {
	return func(p *Params) { p.KubeDNS.UpstreamNameservers = servers }
}

func resolvConf(lines ...string) func(*Params) {
	return func(p *Params) { p.ResolvConf.Text = []byte(strings.Join(lines, "\n")) }
}

func withStanza(s Stanza) func(*Params) { return func(p *Params) { p.Stanza = s } }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (write it with -update); got:\n%s", path, got)
	}
}

func read(t *testing.T, path string) Template {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Template{Path: path, Text: text}
}

func TestRenderGolden(t *testing.T) {
	const manifest, sed = "testdata/reference-manifest.corefile", "testdata/reference-manifest-sed.corefile"
	dual := func(p *Params) {
		p.LocalIPs = addrs("fd00::a", "169.254.20.10", "fd00:1::a", "10.96.0.10")
		p.ClusterDNS = netip.MustParseAddr("fd00:1::53")
	}
	kubeDNS := []func(*Params){
		upstream("192.0.2.53", "[2001:db8::53]:5353", "tls://198.51.100.1%dns.example"),
		stub("corp.example", "10.1.0.1", "10.1.0.2:5300"), stub("Acme.Local.", "dns://[fd00::53]:53"),
	}
	for name, test := range map[string]struct {
		template string
		params   Params
		warnings []string
	}{
		"kubernetes":           {"kubernetes.corefile", params(), nil},
		"kubernetes-kube-dns":  {"kubernetes.corefile", params(kubeDNS...), nil},
		"kubernetes-dual":      {"kubernetes.corefile", params(dual), nil},
		"standalone":           {"standalone.corefile", params(), nil},
		"manifest":             {manifest, params(withStanza(Stanza{Options: option("interface nodelocaldns", "link dummy")})), nil},
		"manifest-sed":         {sed, params(), nil},
		"manifest-sed-kubedns": {sed, params(kubeDNS...), nil},
		"standalone-itself": {"standalone.corefile",
			params(resolvConf("nameserver 169.254.20.10", "nameserver fe80::1%eth0", "nameserver 192.0.2.7")),
			[]string{
				"leaving out nameserver 169.254.20.10 of /etc/resolv.conf: it is this cache, which would ask itself",
				"nameserver fe80::1%eth0 of /etc/resolv.conf will not answer: CoreDNS's forward drops the zone %eth0",
			}},
		"stanza": {"standalone.corefile", params(withStanza(Stanza{
			Addresses: addrs("169.254.20.10", "fd00::a"),
			Options: option("interface dns0", "link tun", "firewall nftables", "lease 0s", "resync 1m30s", "health_port 8081",
				"fallback 10.96.0.10 fd00:1::a", "skip_teardown"),
		})), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(read(t, test.template), test.params)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got.Text)
			if !slices.Equal(got.Warnings, test.warnings) {
				t.Errorf("got warnings %q, want %q", got.Warnings, test.warnings)
			}
			if _, err := caddyfile.Parse(name, bytes.NewReader(got.Text), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEmbeddedTemplates(t *testing.T) {
	for path, text := range map[string][]byte{"kubernetes.corefile": Kubernetes, "standalone.corefile": Standalone} {
		if !bytes.Equal(read(t, path).Text, text) {
			t.Errorf("%s is embedded with another content", path)
		}
	}
}

// TestEmbeddedNeeds leaves out one thing that the templates need after the other.
func TestEmbeddedNeeds(t *testing.T) {
	for _, test := range []struct {
		text   []byte
		change func(*Params)
		name   string
	}{
		{Kubernetes, func(p *Params) { p.ClusterDomain = "" }, "__PILLAR__DNS__DOMAIN__"},
		{Kubernetes, func(p *Params) { p.LocalIPs = nil }, "__PILLAR__LOCAL__DNS__"},
		{Kubernetes, func(p *Params) { p.ClusterDNS = netip.Addr{} }, "__PILLAR__CLUSTER__DNS__"},
		{Kubernetes, func(p *Params) { p.PrometheusEndpoint = "" }, "__PROMETHEUS__ENDPOINT__"},
		{Kubernetes, resolvConf(), "__PILLAR__UPSTREAM__SERVERS__"},
		{Standalone, resolvConf(), "__PILLAR__UPSTREAM__SERVERS__"},
	} {
		line := 1 + bytes.Count(test.text[:bytes.Index(test.text, []byte(test.name))], []byte("\n"))
		want := fmt.Sprintf("f:%d: %s has no value: ", line, test.name)
		_, err := Render(Template{"f", test.text}, params(test.change))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got error %v, want %s…", err, want)
		}
	}
	alone := params(func(p *Params) { p.ClusterDomain, p.ClusterDNS, p.UpstreamService = "", netip.Addr{}, "" })
	if _, err := Render(Template{"f", Standalone}, alone); err != nil {
		t.Errorf("without a cluster: %v", err)
	}
}

// TestRenderIdempotent renders what was rendered: no variable is left in it, and the stanza is not put in twice.
func TestRenderIdempotent(t *testing.T) {
	first, err := Render(Template{"kubernetes.corefile", Kubernetes}, params())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Render(Template{"rendered", first.Text}, Params{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Text, second.Text) {
		t.Errorf("got\n%s\nof\n%s", second.Text, first.Text)
	}
}

// TestRenderUntouched has templates to which there is nothing to do: not a byte may change.
func TestRenderUntouched(t *testing.T) {
	for _, text := range []string{
		"\ufeff{$ZONE}:{%PORT%} {\r\n\tnodelocal\r\n\tforward . {$UP}\r\n\r\n}\r\n\r\n",
		"a,\n b # c\n\n{ nodelocal#x log\n\tlog \"a\n#b\" \"\\\"\" \\\n \n}  \n\n#\n",
		"(s) { nodelocal }\n.:53 {\n  import s\n  forward . 192.0.2.1 {\n    force_tcp\n  }\n}",
		".\u00a0b {\n  nodelocal # __PILLAR__X__\n\xff\n}",
	} {
		got, err := Render(Template{"f", []byte(text)}, params(upstream("192.0.2.1")))
		if err != nil || string(got.Text) != text || got.Warnings != nil {
			t.Errorf("%q: got %q, %q, %v", text, got.Text, got.Warnings, err)
		}
	}
}

// TestRenderKeepsArguments renders twice with the same values, which Render must not change.
func TestRenderKeepsArguments(t *testing.T) {
	text := bytes.Clone(Kubernetes)
	p := params(upstream("192.0.2.1"), stub("b.example", "192.0.2.2"), withStanza(Stanza{Options: option("link tun")}))
	first, err := Render(Template{"f", text}, p)
	if err != nil {
		t.Fatal(err)
	}
	clear(first.Text) // it may not be a part of the template either
	if !bytes.Equal(text, Kubernetes) {
		t.Error("the template was changed")
	}
	want := params(upstream("192.0.2.1"), stub("b.example", "192.0.2.2"), withStanza(Stanza{Options: option("link tun")}))
	if !reflect.DeepEqual(p, want) {
		t.Errorf("the parameters were changed to %+v", p)
	}
}

func TestDefaultPort(t *testing.T) {
	p := params(stub("a.example", "192.0.2.1"), func(p *Params) { p.Port = 0 })
	got, err := Render(Template{"f", []byte(".:53 {\n}\n")}, p)
	if err != nil || !strings.Contains(string(got.Text), "\na.example:53 {\n") {
		t.Errorf("got %s, %v", got.Text, err)
	}
}

// TestRenderErrors has what does not depend on the text of the template.
func TestRenderErrors(t *testing.T) {
	for want, p := range map[string]Params{
		"checking -localip: an address is missing":                            {LocalIPs: []netip.Addr{{}}},
		`checking -localip: address "fe80::1%a b" has a zone`:                 {LocalIPs: addrs("fe80::1%a b")},
		`checking the address of Service "x": address "fe80::1%a" has a zone`: {ClusterDNS: addrs("fe80::1%a")[0], UpstreamService: "x"},
		`checking flags: "a\nb" in the nodelocal stanza: character '\n' is not allowed`: {
			Stanza: Stanza{Options: option("interface a\nb")}},
		`checking flags: "{" in the nodelocal stanza: character '{' is not allowed`: {Stanza: Stanza{Options: option("link {")}},
		`checking flags: "__PILLAR__X__" in the nodelocal stanza: it contains the variable __PILLAR__X__`: {
			Stanza: Stanza{Options: option("firewall __PILLAR__X__")}},
		`checking flags: nodelocal stanza: address "fe80::1%a" has a zone`: {Stanza: Stanza{Addresses: addrs("fe80::1%a")}},
		`checking flags: nodelocal stanza: an address is missing`:          {Stanza: Stanza{Addresses: make([]netip.Addr, 1)}},
		`checking kube-dns ConfigMap: upstreamNameservers: entry 1, "x": not an IP address; host names are not allowed; ` +
			serverForms: params(upstream("x")),
		`checking kube-dns ConfigMap: upstreamNameservers: entry 2, "tls://[::ffff:10.96.0.10]:853": ` +
			`it is an address of this cache, which would ask itself`: params(upstream("192.0.2.1", "tls://[::ffff:10.96.0.10]:853")),
		`checking kube-dns ConfigMap: stubDomains: "b.example": server "169.254.20.10": ` +
			`it is an address of this cache, which would ask itself`: params(stub("b.example", "169.254.20.10"), stub("c.example", "10.96.0.10")),
	} {
		_, err := Render(Template{"Corefile.base", []byte(".:53 {\n}\n")}, p)
		if err == nil || err.Error() != want {
			t.Errorf("got error  %v\nwant error %s", err, want)
		}
	}
}

func TestRenderSize(t *testing.T) {
	text := append([]byte(".:53 {\n}\n#"), bytes.Repeat([]byte("x"), maxSize)...)
	if _, err := Render(Template{"Corefile.base", text[:maxSize]}, params()); err != nil {
		t.Error(err)
	}
	want := "Corefile.base: 1048577 bytes are too many for a template; want 1048576 at most"
	if _, err := Render(Template{"Corefile.base", text[:maxSize+1]}, params()); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
