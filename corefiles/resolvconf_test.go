// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"cmp"
	"slices"
	"testing"
)

func TestResolvConf(t *testing.T) {
	const (
		itself = "leaving out nameserver 169.254.20.10 of /etc/resolv.conf: it is this cache, which would ask itself"
		zone   = "nameserver fe80::1%eth0 of /etc/resolv.conf will not answer: CoreDNS's forward drops the zone %eth0"
	)
	for _, test := range []struct {
		text, want string
		warnings   []string
	}{
		{"nameserver 192.0.2.1", "/etc/resolv.conf", nil},
		{"search x\n\tnameserver\t192.0.2.1 # y\r\nnameserver ::1\noptions ndots:5\n", "/etc/resolv.conf", nil},
		{"nameserver fe80::1%eth0\n", "/etc/resolv.conf", []string{zone}},
		{"nameserver 169.254.20.10\nnameserver 192.0.2.1\n", "192.0.2.1", []string{itself}},
		{"nameserver 2001:db8::1\nnameserver 169.254.20.10\nnameserver fe80::1%eth0\n", "2001:db8::1 fe80::1%eth0", []string{itself, zone}},
		{"#nameserver 169.254.20.10\nnameserver 192.0.2.1\n; nameserver 10.96.0.10\nnameserver\n", "/etc/resolv.conf", nil},
		{"nameserver ::ffff:10.96.0.10\nnameserver 192.0.2.1\n", "192.0.2.1",
			[]string{"leaving out nameserver ::ffff:10.96.0.10 of /etc/resolv.conf: it is this cache, which would ask itself"}},
		{"nameserver ns.example\nnameserver 192.0.2.1\nnameserver fe80::1%{\n", "192.0.2.1", []string{
			`leaving out nameserver "ns.example" of /etc/resolv.conf: not an IP address`,
			`leaving out nameserver "fe80::1%{" of /etc/resolv.conf: not an IP address`}},
	} {
		got, err := Render(Template{"f", []byte(in("forward . __PILLAR__UPSTREAM__SERVERS__"))}, params(resolvConf(test.text)))
		if err != nil || string(got.Text) != in("forward . "+test.want) || !slices.Equal(got.Warnings, test.warnings) {
			t.Errorf("%q: got %q, %q, %v; want %q, %q", test.text, got.Text, got.Warnings, err, test.want, test.warnings)
		}
	}
}

func TestResolvConfErrors(t *testing.T) {
	for _, test := range []struct {
		conf ResolvConf
		want string
	}{
		{ResolvConf{}, "no resolv.conf is given, and the kube-dns ConfigMap sets no upstreamNameservers"},
		{ResolvConf{Path: "/etc/resolv.conf"}, "/etc/resolv.conf is empty or does not exist"},
		{ResolvConf{"/x", []byte("\n")}, "/x names no nameserver"},
		{ResolvConf{"/x", []byte("search a\nnameserver\nnameserverx 192.0.2.1\n")}, "/x names no nameserver"},
		{ResolvConf{"/a b", []byte("nameserver 192.0.2.1")}, `path "/a b" of resolv.conf: character ' ' is not allowed`},
		{ResolvConf{"/x", []byte("nameserver 169.254.20.10\nnameserver a.b\n")},
			"none of the nameservers of /x can be asked (169.254.20.10 a.b): " +
				"they are this cache itself, or no IP addresses; add another one there, or upstreamNameservers to the kube-dns ConfigMap"},
	} {
		p := params(func(p *Params) { p.ResolvConf = test.conf })
		_, err := Render(Template{"f", []byte(in("forward . __PILLAR__UPSTREAM__SERVERS__"))}, p)
		if want := "f:3: __PILLAR__UPSTREAM__SERVERS__ has no value: " + test.want; err == nil || err.Error() != want {
			t.Errorf("%+v:\n got error %v\nwant error %s", test.conf, err, want)
		}
		if _, err := Render(Template{"f", []byte(in("whoami"))}, p); err != nil {
			t.Errorf("not used: %v", err)
		}
	}
}

// TestResolvConfUnused checks that there is no warning of a resolv.conf that is not read.
func TestResolvConfUnused(t *testing.T) {
	loop := resolvConf("nameserver 10.96.0.10", "nameserver 192.0.2.1")
	for text, p := range map[string]Params{
		"# __PILLAR__UPSTREAM__SERVERS__":         params(loop),
		"forward . __PILLAR__UPSTREAM__SERVERS__": params(loop, upstream("192.0.2.9")),
	} {
		got, err := Render(Template{"f", []byte(in(text))}, p)
		if err != nil || got.Warnings != nil {
			t.Errorf("%s: got warnings %q, %v", text, got.Warnings, err)
		}
	}
}

func TestDetach(t *testing.T) {
	for _, test := range []struct{ resolv, text, want string }{ // without want: not ok
		{"nameserver 192.0.2.1\nnameserver ::1\n", "forward . /etc/resolv.conf {", "forward . 192.0.2.1 ::1 {"},
		{"nameserver 192.0.2.1", "a {\n forward . /etc/resolv.conf\n}\nb {\n forward . /etc/resolv.conf # x\n}", "a {\n forward . 192.0.2.1\n}\nb {\n forward . 192.0.2.1 # x\n}"},
		{"nameserver 169.254.20.10\nnameserver x\nnameserver 192.0.2.1", "forward . /etc/resolv.conf", "forward . 192.0.2.1"},
		{"nameserver 192.0.2.1", "forward . /etc/resolv.conf.d # /etc/resolv.conf", "forward . /etc/resolv.conf.d # /etc/resolv.conf"},
		{"nameserver 192.0.2.1", `forward . "/etc/resolv.conf"`, `forward . "/etc/resolv.conf"`},
		{"search x", "forward . /etc/resolv.conf", ""},
		{"", "forward . /etc/resolv.conf", ""},
		{"nameserver 169.254.20.10", "forward . /etc/resolv.conf", ""},
		{"nameserver 169.254.20.10\nnameserver x", "forward . 192.0.2.1 /etc/resolv.conf", ""},
		{"search x", "forward . 192.0.2.1 # /etc/resolv.conf", "forward . 192.0.2.1 # /etc/resolv.conf"},
		{"nameserver 192.0.2.1", `forward . /etc/resolv.conf "`, `forward . /etc/resolv.conf "`},
		{"nameserver 192.0.2.1", "\n", "\n"},
	} {
		got, ok := ResolvConf{"/etc/resolv.conf", []byte(test.resolv)}.Detach([]byte(test.text), addrs("169.254.20.10"))
		want := cmp.Or(test.want, test.text)
		if string(got) != want || ok != (test.want != "") {
			t.Errorf("%q with %q: got %q, %t, want %q", test.text, test.resolv, got, ok, want)
		}
	}
}
