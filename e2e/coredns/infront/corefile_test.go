// SPDX-License-Identifier: Apache-2.0

package infront

import (
	"strings"
	"testing"
)

func TestCorefile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // in this order
		not        []string
	}{
		{"a port", "example.org:0 {\n whoami\n}\n", []string{"example.org:5300 {", "packetcache", "bind 127.0.0.1", "whoami"}, []string{"fairshare", ":0"}},
		{"an address", ". {\n bind 127.0.0.2\n cache\n}", []string{". {", "packetcache", "bind 127.0.0.2"}, []string{"127.0.0.1"}},
		{"two blocks", "a.test:0, b.test:0 {\n any\n}\nc.test:0 {\n any\n}", []string{"a.test:5300, b.test:5300 {", "packetcache", "c.test:5300 {", "packetcache"}, nil},
		{"forward", ".:0 {\n forward . 127.0.0.1:53\n}", []string{"fairshare", "searchpath cluster.local", "keep", "hedge . 127.0.0.1:53", "forward"}, nil},
		{"the zone", "example.org:0 {\n forward . 127.0.0.1\n}", []string{"searchpath example.org."}, nil},
		{"forward with options", ". {\n forward . 127.0.0.1 {\n  force_tcp\n }\n}", []string{"keep", "forward"}, []string{"hedge"}},
		{"forward over TLS", ". {\n forward . tls://127.0.0.1\n}", []string{"keep"}, []string{"hedge"}},
		{"answers for one client", ". {\n whoami\n forward . 127.0.0.1\n}", []string{"fairshare"}, []string{"keep"}},
		{"another transport", "https://.:0 {\n any\n}\n.:0 {\n any\n}", []string{"https://.:0 {\n any", ".:5300 {", "packetcache"}, nil},
		{"a snippet", "(all) {\n cache\n}\n. {\n import all\n}", []string{"(all) {\n cache", ". {", "packetcache"}, nil},
		{"a comment", "# { }\n. { # {\n any\n}", []string{"# { }\n. {", "packetcache", "# {"}, nil},
		{"no plugins", "example.org:0 {\n}", []string{"example.org:5300 {\n}"}, []string{"packetcache"}},
		{"no braces", ".:0\nany", []string{".:0\nany"}, []string{"packetcache"}},
		{"broken", ".:0 {\n any {\n", []string{".:0 {\n any {\n"}, []string{"packetcache"}},
	} {
		got := Corefile(tt.text, 5300)
		rest := got
		for _, want := range tt.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s: no %q where it should be in\n%s", tt.name, want, got)
			}
			rest = after
		}
		for _, not := range tt.not {
			if strings.Contains(got, not) {
				t.Errorf("%s: %q in\n%s", tt.name, not, got)
			}
		}
		if again := Corefile(got, 5301); strings.HasPrefix(got, mark) && again != got {
			t.Errorf("%s: changed a second time:\n%s", tt.name, again)
		}
	}
}

func TestAgain(t *testing.T) {
	t.Setenv(Front, "1")
	first := Fresh(".:0 {\n any\n}")
	if second := Again(".:0 {\n any\n}"); second != first {
		t.Errorf("another port for the server that is reloaded:\n%s%s", first, second)
	}
	t.Setenv(Front, "")
	if text := ".:0 {\n any\n}"; Fresh(text) != text {
		t.Error("changed without being asked to")
	}
}
