// SPDX-License-Identifier: Apache-2.0

package corefiles

import "testing"

func TestBindLink(t *testing.T) {
	for template, want := range map[string]string{
		".:53 {\n nodelocal\n bind nodelocaldns\n}\n":                                    ".:53 {\n nodelocal\n bind 169.254.20.10 10.96.0.10\n}\n",
		".:53 {\n nodelocal\n bind lo nodelocaldns 10.96.0.10 # nodelocaldns\n}\n":       ".:53 {\n nodelocal\n bind lo 169.254.20.10 10.96.0.10 # nodelocaldns\n}\n",
		".:53 {\n nodelocal\n bind eth0 \"nodelocaldns\" {\n  except 127.0.0.1\n }\n}\n": ".:53 {\n nodelocal\n bind eth0 169.254.20.10 10.96.0.10 {\n  except 127.0.0.1\n }\n}\n",
		"(b) {\n bind nodelocaldns\n}\n.:53 {\n nodelocal\n import b\n}\n":               "(b) {\n bind 169.254.20.10 10.96.0.10\n}\n.:53 {\n nodelocal\n import b\n}\n",
		".:53 {\n nodelocal {\n  interface nodelocaldns\n }\n bind nodelocaldns2\n}\n":   ".:53 {\n nodelocal {\n  interface nodelocaldns\n }\n bind nodelocaldns2\n}\n",
	} {
		p := params(func(p *Params) { p.Link = "nodelocaldns" })
		if got, err := Render(Template{"f", []byte(template)}, p); err != nil || string(got.Text) != want {
			t.Errorf("%q: got %q, %v\nwant %q", template, got.Text, err, want)
		}
		p.Link = ""
		if got, err := Render(Template{"f", []byte(template)}, p); err != nil || string(got.Text) != template {
			t.Errorf("%q without a link: got %q, %v", template, got.Text, err)
		}
	}
}

// TestBindLinkForStubs binds the stub domain to the addresses of the link.
func TestBindLinkForStubs(t *testing.T) {
	p := params(stub("acme.example", "192.0.2.1"), func(p *Params) { p.Link = "nodelocaldns" })
	got, err := Render(Template{"f", []byte(".:53 {\n nodelocal\n bind nodelocaldns\n}\n")}, p)
	golden(t, "stub-of-link", got.Text)
	if err != nil {
		t.Error(err)
	}
}

func TestPreferUDP(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"forward . __PILLAR__UPSTREAM__SERVERS__", "forward . 192.0.2.1 192.0.2.2"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  force_tcp\n}", "forward . 192.0.2.1 192.0.2.2 {\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\r\n\t force_tcp # why {\r\n  expire 1s\r\n}", "forward . 192.0.2.1 192.0.2.2 {\r\n  expire 1s\r\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  except a\n  force_tcp#why\n\n  force_tcp\n  expire 1s\n}", "forward . 192.0.2.1 192.0.2.2 {\n  except a\n\n  expire 1s\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ { force_tcp # why\n  expire 1s\n}", "forward . 192.0.2.1 192.0.2.2 { # why\n  expire 1s\n}"},
		{"forward . 192.0.2.9 __PILLAR__UPSTREAM__SERVERS__ {\n\"force_tcp\"\n}", "forward . 192.0.2.9 192.0.2.1 192.0.2.2 {\n}"},

		// what is not a property, or belongs to another stanza
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  except force_tcp\n}", "forward . 192.0.2.1 192.0.2.2 {\n  except force_tcp\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  # force_tcp\n}", "forward . 192.0.2.1 192.0.2.2 {\n  # force_tcp\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  force_tcp x\n}", "forward . 192.0.2.1 192.0.2.2 {\n  force_tcp x\n}"},
		{"forward . __PILLAR__UPSTREAM__SERVERS__ {\n  x {\n  force_tcp\n}\n}", "forward . 192.0.2.1 192.0.2.2 {\n  x {\n  force_tcp\n}\n}"},
		{"forward a 192.0.2.9 {\n  force_tcp\n}\nforward . __PILLAR__UPSTREAM__SERVERS__", "forward a 192.0.2.9 {\n  force_tcp\n}\nforward . 192.0.2.1 192.0.2.2"},
		{"forward . 192.0.2.9 { # __PILLAR__UPSTREAM__SERVERS__\n  force_tcp\n}", "forward . 192.0.2.9 { # 192.0.2.1 192.0.2.2\n  force_tcp\n}"},
		{"forward . 192.0.2.9 {\n  except __PILLAR__UPSTREAM__SERVERS__\n  force_tcp\n}", "forward . 192.0.2.9 {\n  except 192.0.2.1 192.0.2.2\n  force_tcp\n}"},
		{"other . __PILLAR__UPSTREAM__SERVERS__ {\n  force_tcp\n}", "other . 192.0.2.1 192.0.2.2 {\n  force_tcp\n}"},
	} {
		got, err := Render(Template{"f", []byte(in(test.text))}, params(upstream("192.0.2.1", "192.0.2.2")))
		if err != nil || string(got.Text) != in(test.want) {
			t.Errorf("%q:\n got %q, %v\nwant %q", test.text, got.Text, err, in(test.want))
		}
	}
}

// TestKeepTCP has no custom upstreams, so force_tcp of the template stays.
func TestKeepTCP(t *testing.T) {
	got, err := Render(Template{"f", []byte(in("forward . __PILLAR__UPSTREAM__SERVERS__ {\n  force_tcp\n}"))}, params())
	if want := in("forward . /etc/resolv.conf {\n  force_tcp\n}"); err != nil || string(got.Text) != want {
		t.Errorf("got %q, %v; want %q", got.Text, err, want)
	}
}

// TestPreferUDPEverywhere has the stanza in a snippet, in a block without braces and beside the inserted stanza.
func TestPreferUDPEverywhere(t *testing.T) {
	text := "(s) {\nforward . __PILLAR__UPSTREAM__SERVERS__ {\nforce_tcp\n}\n}\n" +
		"a { forward . __PILLAR__UPSTREAM__SERVERS__ { force_tcp\n}\nimport s\n}\n" +
		"b\nforward . __PILLAR__UPSTREAM__SERVERS__ {\nforce_tcp\n}"
	want := "(s) {\nforward . 192.0.2.1 {\n}\n}\n" +
		"a { \n    nodelocal\nforward . 192.0.2.1 {\n}\nimport s\n}\n" +
		"b\nforward . 192.0.2.1 {\n}"
	got, err := Render(Template{"f", []byte(text)}, params(upstream("192.0.2.1")))
	if err != nil || string(got.Text) != want {
		t.Errorf("got %q, %v; want %q", got.Text, err, want)
	}
}
