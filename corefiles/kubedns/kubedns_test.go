// SPDX-License-Identifier: Apache-2.0

package kubedns

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseKubeDNS(t *testing.T) {
	for _, test := range []struct {
		stubs, upstreams string
		want             Config
	}{
		{"", "", Config{}},
		{" \n", "\n", Config{}},
		{"null", "null", Config{}},
		{"{}", "[]", Config{map[string][]string{}, []string{}}},
		{`{"acme.example": ["192.0.2.1"], "b.": ["192.0.2.2:53", "::1"]}`, `["tls://192.0.2.9", "2001:db8::9"]`, Config{
			map[string][]string{"acme.example": {"192.0.2.1"}, "b.": {"192.0.2.2:53", "::1"}},
			[]string{"tls://192.0.2.9", "2001:db8::9"}}},
	} {
		got, err := Parse([]byte(test.stubs), []byte(test.upstreams))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: got %v, %v; want %v", test.stubs, test.upstreams, got, err, test.want)
		}
	}
	if got, err := Parse(nil, nil); err != nil || !reflect.DeepEqual(got, Config{}) {
		t.Errorf("got %v, %v of nil", got, err)
	}
}

func TestParseStubDomainsErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"a\": [\"192.0.2.1\"],\n}":      "stubDomains:3:1: invalid character '}' looking for beginning of object key string",
		`{"a": ["192.0.2.1"]`:                  "stubDomains:1:19: unexpected end of JSON input",
		`{"a": ["192.0.2.1"]} {}`:              "stubDomains:1:22: invalid character '{' after top-level value",
		`{"a": ['192.0.2.1']}`:                 "stubDomains:1:8: invalid character '\\'' looking for beginning of value",
		`["a"]`:                                "stubDomains: found array; want " + wantObject,
		`"a"`:                                  "stubDomains: found string; want " + wantObject,
		`{"a": "192.0.2.1"}`:                   `stubDomains: "a": found string; want ` + wantList,
		`{"a": [1]}`:                           `stubDomains: "a": found number; want ` + wantList,
		"{\"a\": [\"192.0.2.1\"],\n\"a\": []}": `stubDomains:2:3: "a" is there twice`,
		`{"A.b": ["192.0.2.1"], "a.b.": ["192.0.2.1"]}`: `stubDomains: "A.b" and "a.b." are the same domain`,
		`{"a": []}`:     `stubDomains: "a": 0 servers; want 1 to 15`,
		`{"a": null}`:   `stubDomains: "a": 0 servers; want 1 to 15`,
		`{"a": [null]}`: `stubDomains: "a": server "": it is empty; ` + serverForms,
		`{"a/b": ["::1"]}`: `stubDomains: "a/b": not a domain name: character '/' in label "a/b"; ` +
			"letters, digits, hyphens and underscores are allowed",
		`{"": ["::1"]}`: `stubDomains: "": not a domain name: a label is empty`,
		`{"b": ["x"], "a": ["::1", "ns.example"]}`: `stubDomains: "a": server "ns.example": ` +
			"not an IP address; host names are not allowed; " + serverForms,
		`{"a": ["::1" ` + strings.Repeat(`,"::1"`, 15) + `]}`: `stubDomains: "a": 16 servers; want 1 to 15`,
		strings.Repeat(" ", MaxSize+1):                        "stubDomains: 1048577 bytes are more than 1048576",
	} {
		_, err := Parse([]byte(text), nil)
		if errText(err) != want {
			t.Errorf("%.50s:\n got error %v\nwant error %s", text, err, want)
		}
	}
}

func TestParseUpstreamsErrors(t *testing.T) {
	for text, want := range map[string]string{
		`["192.0.2.1"`:                  "upstreamNameservers:1:12: unexpected end of JSON input",
		`["192.0.2.1"]x`:                "upstreamNameservers:1:14: invalid character 'x' after top-level value",
		`{"a": ["192.0.2.1"]}`:          "upstreamNameservers: found object; want " + wantList,
		`192.0.2.1`:                     "upstreamNameservers:1:6: invalid character '.' after top-level value",
		`["::1", "/etc/resolv.conf"]`:   `upstreamNameservers: entry 2, "/etc/resolv.conf": a file or path is not allowed; ` + serverForms,
		`["https://192.0.2.1"]`:         `upstreamNameservers: entry 1, "https://192.0.2.1": scheme "https" is not allowed; ` + serverForms,
		`["::1", "::2", "::3", "::4"]`:  "upstreamNameservers: 4 entries; want 3 at most",
		strings.Repeat("\n", MaxSize+1): "upstreamNameservers: 1048577 bytes are more than 1048576",
	} {
		_, err := Parse(nil, []byte(text))
		if errText(err) != want {
			t.Errorf("%.50s:\n got error %v\nwant error %s", text, err, want)
		}
	}
}

func TestPosition(t *testing.T) {
	for offset, want := range []string{":1:1", ":1:1", ":1:2", ":2:1", ":2:2", ":3:1", ":3:1"} {
		if got := position([]byte("a\nb\nc"), int64(offset)); got != want {
			t.Errorf("offset %d: got %s, want %s", offset, got, want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
