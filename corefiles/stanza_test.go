// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"slices"
	"strings"
	"testing"
)

func TestStanzaString(t *testing.T) {
	for _, test := range []struct {
		stanza Stanza
		want   []string
	}{
		{Stanza{}, []string{"nodelocal"}},
		{Stanza{Addresses: addrs("169.254.20.10", "fd00::a")}, []string{"nodelocal 169.254.20.10 fd00::a"}},
		{Stanza{Options: option("skip_teardown")}, []string{"nodelocal {", "    skip_teardown", "}"}},
		{Stanza{Addresses: addrs("169.254.20.10"), Options: option("link none", "fallback 10.96.0.10 fd00::10")}, []string{"nodelocal 169.254.20.10 {",
			"    link none", "    fallback 10.96.0.10 fd00::10", "}"}},
	} {
		if want := strings.Join(test.want, "\n") + "\n"; test.stanza.format("", "    ", "\n") != want {
			t.Errorf("got  %q\nwant %q", test.stanza, want)
		}
	}
}

func TestInsertStanza(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{".:53 {\n    errors\n}\n", ".:53 {\n    nodelocal {\n        link tun\n    }\n    errors\n}\n"},
		{".:53 {\n  errors\n}\n", ".:53 {\n  nodelocal {\n    link tun\n  }\n  errors\n}\n"},
		{"  .:53 {\n\t errors\n}\n", "  .:53 {\n\t nodelocal {\n\t     link tun\n\t }\n\t errors\n}\n"},
		{"    .:53 {\n      errors\n    }\n", "    .:53 {\n      nodelocal {\n        link tun\n      }\n      errors\n    }\n"},
		{".:53 {\n\terrors\n}\n", ".:53 {\n\tnodelocal {\n\t\tlink tun\n\t}\n\terrors\n}\n"},
		{".:53 {\nerrors\n}\n", ".:53 {\nnodelocal {\n    link tun\n}\nerrors\n}\n"},
		{".:53 {\r\n  errors\r\n}\r\n", ".:53 {\r\n  nodelocal {\r\n    link tun\r\n  }\r\n  errors\r\n}\r\n"},
		{".:53 { # why\n\n  # nodelocal\n  errors\n}", ".:53 { # why\n  nodelocal {\n    link tun\n  }\n\n  # nodelocal\n  errors\n}"},
		{".:53 {#glued\n  errors\n}", ".:53 {#glued\n  nodelocal {\n    link tun\n  }\n  errors\n}"},
		{".:53 {#glued errors\n}", ".:53 {#glued \n    nodelocal {\n        link tun\n    }\nerrors\n}"},
		{".:53 { errors\n}", ".:53 { \n    nodelocal {\n        link tun\n    }\nerrors\n}"},
		{".:53 { }", ".:53 { \n    nodelocal {\n        link tun\n    }\n}"},
		{".:53 {\n}", ".:53 {\n    nodelocal {\n        link tun\n    }\n}"},
		{".:53\n{\n}", ".:53\n{\n    nodelocal {\n        link tun\n    }\n}"},
		{".:53", ".:53\n    nodelocal {\n        link tun\n    }\n"},
		{".:53 # end", ".:53 # end\n    nodelocal {\n        link tun\n    }\n"},
		{".:53\n", ".:53\n    nodelocal {\n        link tun\n    }\n"},
		{".:53\nerrors", ".:53\nnodelocal {\n    link tun\n}\nerrors"},
		{"a,\nb\n  errors", "a,\nb\n  nodelocal {\n    link tun\n  }\n  errors"},
		{"(s) {\n  nodelocal\n}\nimport f\na, \n b {\n  import t\n}\nc {\n}\n",
			"(s) {\n  nodelocal\n}\nimport f\na, \n b {\n  nodelocal {\n    link tun\n  }\n  import t\n}\nc {\n}\n"},
		{".:53 {\n  log \"\nnodelocal\"\n  x nodelocal\n}\n",
			".:53 {\n  nodelocal {\n    link tun\n  }\n  log \"\nnodelocal\"\n  x nodelocal\n}\n"},
		{".:53 {\n  log {\n    nodelocal\n  }\n}\n",
			".:53 {\n  nodelocal {\n    link tun\n  }\n  log {\n    nodelocal\n  }\n}\n"},
	} {
		got, err := Render(Template{"f", []byte(test.text)}, Params{Stanza: Stanza{Options: option("link tun")}})
		if err != nil || string(got.Text) != test.want || got.Warnings != nil {
			t.Errorf("%q:\n got %q, %q, %v\nwant %q", test.text, got.Text, got.Warnings, err, test.want)
		}
	}
}

func TestOwnStanza(t *testing.T) {
	const warning = `f:3: the template has a nodelocal stanza of its own, so these flags change nothing: ["link tun"]`
	for _, text := range []string{
		".:53 {\n\nnodelocal\n}\n",
		"a {\n}\nb { nodelocal 169.254.20.10 {\n link dummy\n}\n}\n",
		".:53\n\nnodelocal",
		"(s) {\n\nnodelocal\n}\n(t) {\nimport s\nimport t\n}\n.:53 {\nimport t\n}",
		".:53 {\n\n\"nodelocal\"\n}\n",
	} {
		got, err := Render(Template{"f", []byte(text)}, Params{Stanza: Stanza{Options: option("link tun")}})
		if err != nil || string(got.Text) != text || !slices.Equal(got.Warnings, []string{warning}) {
			t.Errorf("%q: got %q, %q, %v", text, got.Text, got.Warnings, err)
		}
		got, err = Render(Template{"f", []byte(text)}, Params{Stanza: Stanza{Addresses: addrs("169.254.20.10")}})
		if err != nil || string(got.Text) != text || got.Warnings != nil {
			t.Errorf("%q: got %q, %q, %v", text, got.Text, got.Warnings, err)
		}
	}
}

func TestInsertPacketCache(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{".:53 {\n  errors\n}\n", ".:53 {\n  nodelocal\n  packetcache\n  errors\n}\n"},
		{"a {\n  errors\n}\nb {\n\tlog\n}\n", "a {\n  nodelocal\n  packetcache\n  errors\n}\nb {\n\tpacketcache\n\tlog\n}\n"},
		{"a {\n  packetcache {\n    ttl 5s\n  }\n}\nb {\n}\n", "a {\n  nodelocal\n  packetcache {\n    ttl 5s\n  }\n}\nb {\n    packetcache\n}\n"},
		{"(s) {\n  packetcache\n}\na {\n  import s\n}\n", "(s) {\n  packetcache\n}\na {\n  nodelocal\n  import s\n}\n"},
		{"tls://a {\n  errors\n}\n", "tls://a {\n  nodelocal\n  errors\n}\n"},
		{".:53", ".:53\n    nodelocal\n\n    packetcache\n"},
		{".:53 { errors\n}", ".:53 { \n    nodelocal\n\n    packetcache\nerrors\n}"},
	} {
		got, err := Render(Template{"f", []byte(test.text)}, Params{PacketCache: true})
		if err != nil || string(got.Text) != test.want {
			t.Errorf("%q: %v\ngot  %q\nwant %q", test.text, err, got.Text, test.want)
		}
	}
}
