// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"regexp"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

var sizes = regexp.MustCompile(` (?:success|denial) \d+`)

// TestMemory renders the templates with memory limits. Sizes that their author has given stay.
func TestMemory(t *testing.T) {
	kubernetes := func(large, medium, small string) string {
		block := func(success, denial string) string { return "success " + success + " denial " + denial + " " }
		return strings.TrimSpace(block(large, large) + strings.Repeat(block(small, small), 2) + block(large, medium) + block(small, small)) // a stub domain
	}
	own := Template{"own", []byte(".:53 {\n    cache {\n        success 9984 30\n        denial 4096 5\n    }\n}\n")}
	for _, tt := range []struct {
		limit    string
		template Template
		want     string
	}{
		{"", Template{"kubernetes", Kubernetes}, kubernetes("9984", "4096", "2048")},
		{"64Mi", Template{"kubernetes", Kubernetes}, kubernetes("1024", "1024", "1024")},
		{"170Mi", Template{"kubernetes", Kubernetes}, kubernetes("8192", "3328", "1536")},
		{"192Mi", Template{"kubernetes", Kubernetes}, kubernetes("9984", "4096", "2048")},
		{"1Gi", Template{"kubernetes", Kubernetes}, kubernetes("74752", "30720", "15360")},
		{"64Gi", Template{"kubernetes", Kubernetes}, kubernetes("99840", "40960", "20480")},
		{"", Template{"standalone", Standalone}, "success 9984 denial 4096 success 2048 denial 2048"},
		{"64Mi", Template{"standalone", Standalone}, "success 1024 denial 1024 success 1024 denial 1024"},
		{"64Mi", own, "success 9984 denial 4096 success 1024 denial 1024"},
	} {
		p := params(stub("a.example", "192.0.2.2"))
		if tt.limit != "" {
			var err error
			if p.Memory, err = memlimit.Parse(tt.limit); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Render(tt.template, p)
		if err != nil {
			t.Fatal(err)
		}
		if found := strings.TrimSpace(strings.Join(sizes.FindAllString(string(got.Text), -1), "")); found != tt.want {
			t.Errorf("%s with %s:\ngot  %s\nwant %s", tt.template.Path, tt.limit, found, tt.want)
		}
	}
}
