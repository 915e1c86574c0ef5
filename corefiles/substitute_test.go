// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"net/netip"
	"strings"
	"testing"
)

// in puts lines into a server block with a nodelocal stanza, so that Render adds nothing.
func in(lines string) string { return ".:53 {\n    nodelocal\n" + lines + "\n}\n" }

func TestVariables(t *testing.T) {
	six := func(p *Params) { p.LocalIPs = addrs("fd00::a", "169.254.20.10") }
	sixCluster := func(p *Params) { p.ClusterDNS = netip.MustParseAddr("fd00::53") }
	for _, test := range []struct {
		text, want string
		params     Params
	}{
		{"bind __PILLAR__LOCAL__DNS__", "bind 169.254.20.10 10.96.0.10", params()},
		{"bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__", "bind 169.254.20.10 10.96.0.10 ", params()},
		{"health __PILLAR__LOCAL__DNS__:8080", "health 169.254.20.10:8080", params()},
		{"health __PILLAR__LOCAL__DNS__:8080", "health [fd00::a]:8080", params(six)},
		{"health [__PILLAR__LOCAL__DNS__]:8080", "health [fd00::a]:8080", params(six)},
		{"health [__PILLAR__LOCAL__DNS__]:8080", "health [169.254.20.10]:8080", params()},
		{`health "__PILLAR__LOCAL__DNS__:8080"`, `health "169.254.20.10:8080"`, params()},
		{"forward . __PILLAR__CLUSTER__DNS__", "forward . fd00::53", params(sixCluster)},
		{"forward . __PILLAR__CLUSTER__DNS__:5353", "forward . [fd00::53]:5353", params(sixCluster)},
		{"forward . tls://__PILLAR__CLUSTER__DNS__:5353", "forward . tls://10.96.45.53:5353", params()},
		{"forward __PILLAR__DNS__DOMAIN__ __PILLAR__CLUSTER__DNS__", "forward cluster.local 10.96.45.53", params()},
		{"prometheus __PROMETHEUS__ENDPOINT__", "prometheus :9253", params()},
		{"forward . __PILLAR__UPSTREAM__SERVERS__", "forward . /etc/resolv.conf", params()},
		{"forward . __PILLAR__UPSTREAM__SERVERS__", "forward . 192.0.2.1 tls://192.0.2.2", params(upstream("192.0.2.1", "tls://192.0.2.2"))},
		{"keep __NODELOCALDNS__STATE__DIR__", "keep ", params()},
		{"keep __NODELOCALDNS__STATE__DIR__", "keep /run/nodelocaldns", params(func(p *Params) { p.StateDir = "/run/nodelocaldns" })},
		{"a __PILLAR__DNS__SERVER____PILLAR__DNS__DOMAIN__x", "a cluster.localx", params()},

		// comments
		{"# __PILLAR__DNS__DOMAIN__ {", "# cluster.local {", params()},
		{"# __PILLAR__NO__SUCH__ __PILLAR__ \" {", "# __PILLAR__NO__SUCH__ __PILLAR__ \" {", params()},
		{"# __PILLAR__CLUSTER__DNS__", "# __PILLAR__CLUSTER__DNS__", Params{}},
		{"errors #__PILLAR__LOCAL__DNS__", "errors #169.254.20.10 10.96.0.10", params()},
		{"errors#__PILLAR__LOCAL__DNS__", "errors#__PILLAR__LOCAL__DNS__", params()},
		{"errors\r#x__PILLAR__LOCAL__DNS__", "errors\r#x__PILLAR__LOCAL__DNS__", params()},
		{`x "errors"#__PILLAR__LOCAL__DNS__`, `x "errors"#169.254.20.10 10.96.0.10`, params()},
	} {
		got, err := Render(Template{"Corefile.base", []byte(in(test.text))}, test.params)
		if err != nil || string(got.Text) != in(test.want) {
			t.Errorf("%s: got %q, %v; want %q", test.text, got.Text, err, test.want)
		}
	}
}

func TestVariableErrors(t *testing.T) {
	none := Params{UpstreamService: "kube-dns-upstream"}
	for _, test := range []struct {
		text, want string
		params     Params
	}{
		{"\n forward . __PILLAR__CLUSTER__DNS__", "Corefile.base:4: __PILLAR__CLUSTER__DNS__ has no value: " +
			"the environment variable KUBE_DNS_UPSTREAM_SERVICE_HOST is not set; " +
			`does the Service "kube-dns-upstream" exist in this pod's namespace (and did it before the pod started)? ` +
			"name another with -upstreamsvc", none},
		{"forward . __PILLAR__CLUSTER__DNS__", "Corefile.base:3: __PILLAR__CLUSTER__DNS__ has no value: -upstreamsvc names no Service", Params{}},
		{"forward . __PILLAR__CLUSTER__DNS__", "Corefile.base:3: __PILLAR__CLUSTER__DNS__ has no value: " +
			`10.96.0.10 of Service "kube-dns" is an address of this cache, which would ask itself; ` +
			"name with -upstreamsvc a Service of the same pods that has another ClusterIP",
			Params{LocalIPs: addrs("10.96.0.10"), ClusterDNS: addrs("10.96.0.10")[0], UpstreamService: "kube-dns"}},
		{"bind __PILLAR__LOCAL__DNS__", "Corefile.base:3: __PILLAR__LOCAL__DNS__ has no value: -localip names no address", none},
		{"x __PILLAR__DNS__DOMAIN__", "Corefile.base:3: __PILLAR__DNS__DOMAIN__ has no value: -clusterdomain is empty", none},
		{"x __PILLAR__DNS__DOMAIN__", "Corefile.base:3: __PILLAR__DNS__DOMAIN__ has no value: " +
			`-clusterdomain "a.b/c": not a domain name: character '/' in label "b/c"; letters, digits, hyphens and underscores are allowed`,
			Params{ClusterDomain: "a.b/c"}},
		{"x __PILLAR__DNS__DOMAIN__", "Corefile.base:3: __PILLAR__DNS__DOMAIN__ has no value: " +
			`-clusterdomain "__PILLAR__DNS__DOMAIN__": it contains the variable __PILLAR__DNS__DOMAIN__`,
			Params{ClusterDomain: "__PILLAR__DNS__DOMAIN__"}},
		{"prometheus __PROMETHEUS__ENDPOINT__", "Corefile.base:3: __PROMETHEUS__ENDPOINT__ has no value: " +
			"-prometheus-listen-address is empty", none},
		{"prometheus __PROMETHEUS__ENDPOINT__", "Corefile.base:3: __PROMETHEUS__ENDPOINT__ has no value: " +
			`-prometheus-listen-address ":9253 {": character ' ' is not allowed`, Params{PrometheusEndpoint: ":9253 {"}},
		{"\n keep __NODELOCALDNS__STATE__DIR__", `Corefile.base:4: __NODELOCALDNS__STATE__DIR__ has no value: -statedir "/a b": character ' ' is not allowed`,
			Params{StateDir: "/a b"}},
		{"\n keep __NODELOCALDNS__STATE__", "Corefile.base:4: __NODELOCALDNS__STATE__ is no variable; there are __PILLAR__LOCAL__DNS__, " +
			"__PILLAR__DNS__SERVER__, __PILLAR__DNS__DOMAIN__, __PILLAR__CLUSTER__DNS__, __PILLAR__UPSTREAM__SERVERS__, " +
			"__PROMETHEUS__ENDPOINT__, __NODELOCALDNS__STATE__DIR__, __NODELOCALDNS__CACHE__9984__, __NODELOCALDNS__CACHE__4096__, " +
			"__NODELOCALDNS__CACHE__2048__", params()},
		{"x y\"\nz __PILLAR__FOO__", "Corefile.base:4: __PILLAR__FOO__ is no variable; there are __PILLAR__LOCAL__DNS__, " +
			"__PILLAR__DNS__SERVER__, __PILLAR__DNS__DOMAIN__, __PILLAR__CLUSTER__DNS__, __PILLAR__UPSTREAM__SERVERS__, " +
			"__PROMETHEUS__ENDPOINT__, __NODELOCALDNS__STATE__DIR__, __NODELOCALDNS__CACHE__9984__, __NODELOCALDNS__CACHE__4096__, " +
			"__NODELOCALDNS__CACHE__2048__", params()},
		{`x "` + "\n" + `__PILLAR__LOCAL__DNS__"`, "Corefile.base:4: __PILLAR__LOCAL__DNS__ stands for several words " +
			"(169.254.20.10 10.96.0.10), and quotes would make one of them", params()},
		{"x __PILLAR\r__LOCAL__DNS__", "Corefile.base:3: __PILLAR__LOCAL__DNS__ is left after the variables were replaced", params()},
		{"x ___PILLAR__DNS__SERVER___PILLAR__X__", "Corefile.base:3: __PILLAR__X__ is left after the variables were replaced", params()},
		{"x \"\n y", "Corefile.base:3: quoted string is never closed", params()},
		{"x __PILLAR__DNS__SERVER__\"y", "Corefile.base:3: quoted string is never closed", params()},
	} {
		_, err := Render(Template{"Corefile.base", []byte(in(test.text))}, test.params)
		if err == nil || err.Error() != test.want {
			t.Errorf("%q:\n got error %v\nwant error %s", test.text, err, test.want)
		}
	}
}

// TestUnknownVariables has words that are close to a variable, all of which are refused by name.
func TestUnknownVariables(t *testing.T) {
	for text, name := range map[string]string{
		"__PILLAR__":                        "__PILLAR__",
		"x__PILLAR__foo/y":                  "__PILLAR__foo",
		"__PILLAR__LOCAL__DNS":              "__PILLAR__LOCAL__",
		"__PILLAR__LOCAL__DNS__V6__":        "__PILLAR__LOCAL__DNS__V6__",
		"__PROMETHEUS__PORT__":              "__PROMETHEUS__PORT__",
		"__PILLAR__PILLAR__DNS__SERVER__":   "__PILLAR__PILLAR__DNS__SERVER__",
		"\"__PILLAR__ __PILLAR__A__\"":      "__PILLAR__",
		"__PILLAR__DNS__SERVER____PILLAR__": "__PILLAR__",
	} {
		_, err := Render(Template{"f", []byte(in("x " + text))}, params())
		if want := "f:3: " + name + " is no variable; there are "; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got error %v, want %s…", text, err, want)
		}
	}
}
