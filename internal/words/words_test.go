// SPDX-License-Identifier: Apache-2.0

package words

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]string{
		".": "", "a": "", "a.": "", "A-1._x.example": "", "10.in-addr.arpa": "", "xn--bcher-kva.example": "",
		long:                                    "",
		long + "a":                              `not a domain name: label "` + long + `a" has 64 characters, more than 63`,
		strings.Repeat(long+".", 4)[:253]:       "",
		strings.Repeat(long+".", 4)[:253] + ".": "",
		strings.Repeat(long+".", 4)[:254]:       "not a domain name: it has 254 characters, more than 253",
		"":                                      "not a domain name: a label is empty",
		"..":                                    "not a domain name: a label is empty",
		".a":                                    "not a domain name: a label is empty",
		"a..b":                                  "not a domain name: a label is empty",
		"a.-b":                                  `not a domain name: label "-b" begins or ends with a hyphen`,
		"a-.b":                                  `not a domain name: label "a-" begins or ends with a hyphen`,
		"a b":                                   `not a domain name: character ' ' in label "a b"; letters, digits, hyphens and underscores are allowed`,
		"a.example:53":                          `not a domain name: character ':' in label "example:53"; letters, digits, hyphens and underscores are allowed`,
		"büro":                                  `not a domain name: character 'ü' in label "büro"; letters, digits, hyphens and underscores are allowed`,
		"a.__PILLAR__X__":                       "it contains the variable __PILLAR__X__",
	} {
		if err := CheckName(name); errText(err) != want {
			t.Errorf("%q: got error %q, want %q", name, errText(err), want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCheckWord(t *testing.T) {
	for word, want := range map[string]string{
		"": "", "/run/systemd/resolve/resolv.conf": "", ":9253": "", "[::1]:9253": "", "größe,%": "",
		"a b":             "character ' ' is not allowed",
		"a\u00a0b":        `character '\u00a0' is not allowed`,
		"a\x00":           `character '\x00' is not allowed`,
		"a\u200bb":        `character '\u200b' is not allowed`,
		`a"`:              `character '"' is not allowed`,
		`a\b`:             `character '\\' is not allowed`,
		"{$HOME}":         "character '{' is not allowed",
		"a#b":             "character '#' is not allowed",
		"a\xff":           "not UTF-8",
		"__PROMETHEUS__X": "it contains the variable __PROMETHEUS__X",
	} {
		if err := Check(word); errText(err) != want {
			t.Errorf("%q: got error %q, want %q", word, errText(err), want)
		}
	}
}

func TestParseServer(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1":                         "192.0.2.1",
		"192.0.2.1:5353":                    "192.0.2.1",
		"dns://192.0.2.1":                   "192.0.2.1",
		"tls://192.0.2.1:853":               "192.0.2.1",
		"2001:db8::1":                       "2001:db8::1",
		"[2001:db8::1]":                     "2001:db8::1",
		"[2001:db8::1]:53":                  "2001:db8::1",
		"dns://2001:db8::1":                 "2001:db8::1",
		"tls://[2001:db8::1]:853":           "2001:db8::1",
		"::ffff:192.0.2.1":                  "::ffff:192.0.2.1",
		"fe80::1%eth0":                      "fe80::1%eth0",
		"dns://[fe80::1%eth0.1]:53":         "fe80::1%eth0.1",
		"tls://192.0.2.1%dns.example":       "192.0.2.1",
		"tls://192.0.2.1%dns.example:853":   "192.0.2.1",
		"tls://[2001:db8::1%dns.example]:1": "2001:db8::1",
	} {
		addr, err := ParseServer(s)
		if err != nil || addr.String() != want {
			t.Errorf("%s: got %s, %v; want %s", s, addr, err, want)
		}
		if err := Check(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestParseServerErrors(t *testing.T) {
	const noIP = "not an IP address; host names are not allowed"
	for s, want := range map[string]string{
		"":                        "it is empty",
		"dns://":                  "it is empty",
		"ns.example":              noIP,
		"ns.example:53":           noIP,
		"192.0.2.256":             noIP,
		"192.0.2.01":              noIP,
		"192.0.2.1 192.0.2.2":     noIP,
		" 192.0.2.1":              noIP,
		":53":                     noIP,
		"[2001:db8::1":            noIP,
		"[[2001:db8::1]]":         noIP,
		"192.0.2.1\n":             noIP,
		"192.0.2.1:":              `"" is not a port`,
		"192.0.2.1:0":             `"0" is not a port`,
		"192.0.2.1:65536":         `"65536" is not a port`,
		"192.0.2.1:+53":           `"+53" is not a port`,
		"[2001:db8::1]:domain":    `"domain" is not a port`,
		"https://192.0.2.1":       `scheme "https" is not allowed`,
		"TLS://192.0.2.1":         `scheme "TLS" is not allowed`,
		"grpc://192.0.2.1":        `scheme "grpc" is not allowed`,
		"://192.0.2.1":            `scheme "" is not allowed`,
		"/etc/resolv.conf":        "a file or path is not allowed",
		"dns:///etc/resolv.conf":  "a file or path is not allowed",
		"192.0.2.1/24":            "a file or path is not allowed",
		"tls://dns://192.0.2.1":   "a file or path is not allowed",
		"0.0.0.0":                 "0.0.0.0 is the unspecified address, not that of one host",
		"::":                      ":: is the unspecified address, not that of one host",
		"::ffff:0.0.0.0":          "0.0.0.0 is the unspecified address, not that of one host",
		"ff02::fb":                "ff02::fb is a multicast address, not that of one host",
		"255.255.255.255":         "255.255.255.255 is the broadcast address, not that of one host",
		"192.0.2.1%eth0":          "a zone is allowed behind an IPv6 link-local address only",
		"2001:db8::1%eth0":        "a zone is allowed behind an IPv6 link-local address only",
		"fe80::1%":                `zone "" is not allowed`,
		"fe80::1%a b":             `zone "a b" is not allowed`,
		"fe80::1%a%b":             `zone "a%b" is not allowed`,
		"tls://192.0.2.1%{":       `zone "{" is not allowed`,
		"fe80::1%__PILLAR__X__":   `zone "__PILLAR__X__" is not allowed`,
		"tls://192.0.2.1%a:b:853": `zone "a:b:853" is not allowed`,
	} {
		if addr, err := ParseServer(s); errText(err) != want {
			t.Errorf("%q: got %s, error %q; want %q", s, addr, errText(err), want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"nft":                   "nft",
		"\x1b[2J\nERROR  port":  "?[2J?ERROR  port",
		"a\xff\tb\x7fü\u202ec":  "a??b???c",
		"(sd-pam) kubelet~v1.2": "(sd-pam) kubelet~v1.2",
	} {
		if got := Printable(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
