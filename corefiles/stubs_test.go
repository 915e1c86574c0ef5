// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"slices"
	"strings"
	"testing"
)

func TestStubs(t *testing.T) {
	text := ".:1053 {\n    nodelocal\n    bind fd00::a\n}"
	p := params(stub("b.example", "192.0.2.1:5353"), stub("A.Example.", "192.0.2.2", "tls://[2001:db8::1]"), func(p *Params) {
		p.LocalIPs, p.Port = addrs("fd00::a"), 1053
	})
	options := strings.ReplaceAll(strings.Join(stubOptions, "\n"), cacheSmall, "2048")
	want := strings.Join([]string{"",
		"# A stub domain of the kube-dns ConfigMap.", "a.example:1053 {",
		"    bind fd00::a", "    fairshare 1000", "    forward . 192.0.2.2 tls://[2001:db8::1] {", "        prefer_udp", options, "",
		"# A stub domain of the kube-dns ConfigMap.", "b.example:1053 {",
		"    bind fd00::a", "    fairshare 1000", "    forward . 192.0.2.1:5353 {", "        prefer_udp", options, ""}, "\n")
	for _, test := range []struct{ end, eol string }{{"", "\n"}, {"\n", ""}, {" # comment", "\n"}, {" #glued\n\n", ""}} {
		got, err := Render(Template{"f", []byte(text + test.end)}, p)
		if want := text + test.end + test.eol + want; err != nil || string(got.Text) != want {
			t.Errorf("%q: got %q, %v\nwant %q", test.end, got.Text, err, want)
		}
	}
	crlf, err := Render(Template{"f", []byte(strings.ReplaceAll(text, "\n", "\r\n"))}, p)
	if want := strings.ReplaceAll(text+"\n"+want, "\n", "\r\n"); err != nil || string(crlf.Text) != want {
		t.Errorf("got %q, %v\nwant %q", crlf.Text, err, want)
	}
}

func TestStubsErrors(t *testing.T) {
	const adding = `adding stub domain "acme.example" of the kube-dns ConfigMap: `
	for _, test := range []struct {
		text, want string
		params     Params
	}{
		{".:53 {\n}\nACME.example. {\n}", "f:3 has a server block for it already, ACME.example.", params()},
		{"a.example,\nacme.example:53 {\n}", "f:2 has a server block for it already, acme.example:53", params()},
		{"dns://acme.example:1053 {\n}", "f:1 has a server block for it already, dns://acme.example:1053", params(func(p *Params) { p.Port = 1053 })},
		{"acme.example", "f:1: server block acme.example has no braces, so that none can follow it", params()},
		{".:53 {\n}\n\n\"a\" b\nlog", "f:4: server block a has no braces, so that none can follow it", params()},
	} {
		stub("acme.example", "192.0.2.1")(&test.params)
		_, err := Render(Template{"f", []byte(test.text)}, test.params)
		if err == nil || err.Error() != adding+test.want {
			t.Errorf("%q:\n got error %v\nwant error %s", test.text, err, adding+test.want)
		}
	}
}

// TestStubsBeside has server blocks that share the name of the stub domain, or a part of it, without a conflict.
func TestStubsBeside(t *testing.T) {
	for _, key := range []string{"acme.example:54", "tls://acme.example", "x.acme.example", "example", "{$acme.example}", "a:b"} {
		text := key + " {\n}\n"
		if _, err := Render(Template{"f", []byte(text)}, params(stub("acme.example", "192.0.2.1"))); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestStubsRoot(t *testing.T) {
	got, err := Render(Template{"f", []byte("a {\n}\n")}, params(stub(".", "192.0.2.1")))
	if err != nil || !strings.Contains(string(got.Text), "\n.:53 {\n") {
		t.Errorf("got %s, %v", got.Text, err)
	}
	_, err = Render(Template{"f", []byte(".:53 {\n}\n")}, params(stub(".", "192.0.2.1")))
	if want := `adding stub domain "." of the kube-dns ConfigMap: f:1 has a server block for it already, .:53`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestStubsWarnings(t *testing.T) {
	p := params(stub("b.example", "[fe80::1%eth0]:5353"), stub("a.example", "192.0.2.1"), upstream("fe80::2%eth1"))
	got, err := Render(Template{"f", []byte(".:53 {\n}\n")}, p)
	want := []string{
		"nameserver fe80::1%eth0 of the kube-dns ConfigMap will not answer: CoreDNS's forward drops the zone %eth0",
		"nameserver fe80::2%eth1 of the kube-dns ConfigMap will not answer: CoreDNS's forward drops the zone %eth1",
	}
	if err != nil || !slices.Equal(got.Warnings, want) {
		t.Errorf("got %q, %v; want %q", got.Warnings, err, want)
	}
}
