// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"slices"
	"strings"
	"testing"
)

func TestCutsAbove(t *testing.T) {
	const zone = "cluster.local."
	for name, want := range map[string][]string{
		// What a search list with ndots:5 makes of api.example.com and of example.com.
		"api.example.com.shop.svc": {"shop.svc", "com.shop.svc"},
		"api.example.com.svc":      {"com.svc", "example.com.svc"},
		"api.example.com":          {"com"},
		"example.com.shop.svc":     {"shop.svc", "com.shop.svc"},
		"example.com.svc":          {"com.svc"},
		"example.com":              {"com"},
		// Names of the cluster.
		"web.shop.svc":                      {"shop.svc"},
		"web-0.web.shop.svc":                {"shop.svc", "web.shop.svc"},
		"redis.prod.shop.svc":               {"shop.svc", "prod.shop.svc"},
		"172-0-0-2.cluster1.hdls1.shop.svc": {"shop.svc", "hdls1.shop.svc"},
		"shop.svc":                          nil,
		"svc":                               nil,
		"com":                               nil,
		"":                                  nil,
		// What CoreDNS's kubernetes plugin denies above names that exist.
		"_http._tcp.web.shop.svc":     nil,
		"x._tcp.web.shop.svc":         nil,
		"zone-a.pin._zone.hdls1.shop": nil,
		"_tcp.web.shop.svc":           nil,
		"ns.dns":                      nil,
		"1-2-3-4.shop.pod":            nil,
		"a.b.pod":                     nil,
		// A dot inside a label is none between two.
		`a\.svc.com`: {"com"},
		`a.b\.svc`:   {`b\.svc`},
		"a.xsvc":     {"xsvc"},
	} {
		full := func(s string) string { return strings.TrimPrefix(s+"."+zone, ".") }
		var expected []string
		for _, w := range want {
			expected = append(expected, full(w))
		}
		if got := cutsAbove(full(name), zone); !slices.Equal(got, expected) {
			t.Errorf("%s: %v, want %v", name, got, expected)
		}
	}
}
