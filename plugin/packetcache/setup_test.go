// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"packetcache": "",
		"packetcache {\n ttl 5s\n size 1000000\n}": "",
		"packetcache 5s":                       "Wrong argument count",
		"packetcache {\n ttl\n}":               "ttl: want one value, got 0",
		"packetcache {\n ttl 0\n}":             `ttl "0": want a duration such as 1s, of 1h at most`,
		"packetcache {\n ttl 2h\n}":            `ttl "2h": want a duration such as 1s, of 1h at most`,
		"packetcache {\n size 8M\n}":           `size "8M": want octets, from 262144 to 1073741824`,
		"packetcache {\n size 1000\n}":         `size "1000": want octets, from 262144 to 1073741824`,
		"packetcache {\n zise 1000000\n}":      `unknown option "zise": known are ttl, size, kernel and admit`,
		"packetcache {\n kernel\n admit 1s\n}": "",
		"packetcache {\n kernel force\n}":      "",
		"packetcache {\n kernel on\n}":         `kernel "on": want nothing or force`,
		"packetcache {\n admit 0\n}":           `admit "0": want a duration such as 5s, from 100ms to 1m0s`,
		"packetcache\npacketcache":             "given twice in one server block",
	} {
		o, where, err := parse(caddy.NewTestController("dns", text))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want := options{TTL: time.Second, Size: 8 << 20, Admit: 5 * time.Second}
		switch {
		case strings.Contains(text, "force"):
			want.Kernel = kernelForce
		case strings.Contains(text, "kernel"):
			want.Kernel, want.Admit = kernelOn, time.Second
		case where != "":
			want.TTL, want.Size = 5*time.Second, 1_000_000
		}
		if o != want {
			t.Errorf("%s: %+v, want %+v", text, o, want)
		}
	}
}

func TestCheckBlock(t *testing.T) {
	const bare = "{\n errors\n cache 30 {\n prefetch 2\n }\n forward . 192.0.2.1 {\n force_tcp\n }\n prometheus :9253\n"
	plain := strings.Replace(bare, "errors", "packetcache\n errors", 1)
	template := func(lines string) string { return ". " + plain + " template IN A {\n " + lines + "\n }\n}" }
	for text, want := range map[string]string{
		". " + plain + "}": "",
		". " + plain + " keep /run/x {\n bare_denial 5s\n }\n searchpath cluster.local\n hedge . 192.0.2.1 {\n after 50ms\n }\n}": "",
		". " + plain + " rewrite name regex (.*)\\.a\\.$ {1}.b.\n}":                                                               "",
		template(`answer "{{ .Name }} 5 IN A 192.0.2.1"`):                                                                         "",
		template(`match "^ip-(?P<a>[0-9]*)[.].*\.a\.$"` + "\n" + `answer "{{.Name}} 5 IN A 192.0.2.{{ index .Group \"a\" }}"`):    "",
		template(`answer "{{ printf \"%s.b.\" (index .Match 0) }} 5 IN A {{ .Group.a }} {{ .Question.Qtype }}"`):                  "",
		template(`answer "{{ .Name }} 5 IN A {{ .Remote }}"`):                                                                     "template with .Remote",
		template(`answer "{{ .Name }} 5 IN TXT {{ (.Meta \"x\") }}"`):                                                             "template with .Meta",
		template(`answer "{{ .Name }} 5 IN TXT {{ .Var.a }}"`):                                                                    "template with .Var",
		template(`answer "{{ .Name }} 5 IN TXT {{ printf \"%v\" . }}"`):                                                           "template with .",
		template(`answer "{{ .Name }} 5 IN TXT {{ printf \"%v\" $ }}"`):                                                           "template with $",
		template(`answer "{{ .Name }} 5 IN TXT {{ $.Remote }}"`):                                                                  "template with .Remote",
		template(`answer "{{ .Name }} 5 IN TXT {{ $x := $.Name }}{{ $x }}"`):                                                      "",
		template(`answer "{{ .Name }} 5 IN TXT {{.}}"`):                                                                           "template with .",
		template("expr \"incidr(client_ip(), '192.0.2.0/24')\""):                                                                  "template with expr",
		template("var a client_ip()"):                                                                                             "template with var",
		". " + plain + " rewrite edns0 local set 0xffee {client_ip}\n}":                                                           "rewrite with edns0",
		". " + plain + " acl {\n allow net 192.0.2.0/24\n }\n}":                                                                   "acl may answer",
		". " + plain + " log\n}":                                        "log may answer",
		". " + plain + " somebodys\n}":                                  "somebodys may answer",
		". " + plain + "}\nexample.org {\n view v {\n expr true\n }\n}": "view chooses",
		". " + plain + "}\nexample.org {\n tsig {\n require all\n }\n}": "tsig chooses",
		". " + plain + "}\nexample.org {\n acl {\n block\n }\n}":        "",
		// With these a query can come to another block.
		". " + plain + " file db.a\n}\nexample.org {\n acl {\n block\n }\n}":               "file may ask the server block of example.org, and there acl",
		". " + plain + " rewrite cname exact a. b.\n}\nexample.org {\n log\n}":             "rewrite may ask the server block of example.org, and there log",
		". " + plain + " file db.a\n}\nexample.org {\n packetcache\n acl {\n block\n }\n}": "",
		". " + plain + " file db.a\n}\nexample.org " + bare + "}":                          "",
		". " + plain + " rewrite name a. b.\n}\nexample.org {\n log\n}":                    "",
	} {
		blocks, err := caddyfile.Parse("Corefile", strings.NewReader(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkBlock(blocks[0], blocks); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s:\n%q, want %q", text, got, want)
		}
	}
}
