// SPDX-License-Identifier: Apache-2.0

package setups

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/whoami"

	_ "github.com/nodelocaldns/nodelocaldns/plugin/keep"
	_ "github.com/nodelocaldns/nodelocaldns/plugin/packetcache"
)

var order = []string{"packetcache", "reload", "ready", "health", "errors", "loadbalance", "cache", "keep", "template", "file", "forward", "whoami"}

// TestFaults has one fault in a second server block, behind a block with the same directives.
func TestFaults(t *testing.T) {
	good := "good.example {\n    cache {\n        success 9984\n    }\n    forward . 192.0.2.1\n    errors\n    keep\n    packetcache\n}\n" // nine lines
	for _, tt := range []struct{ body, want string }{
		{"cache abc", ""}, // a zone
		{"cache -1", "11: cache -1: cache TTL can not be zero or negative: -1"},
		{"cache {\n success 9984\n denial x 5\n success y\n}", `13: cache: denial x 5: "x" is not a number`},
		{"cache {\n success 99999999999999999999\n}", `12: cache: success 99999999999999999999: "99999999999999999999" is too large a number`},
		{"cache {\n servfail 10m\n}", "12: cache: servfail 10m: caching SERVFAIL responses over 5 minutes is not permitted"},
		{"cache {\n serve_stale_policy prefer_positive\n}", "12: cache: serve_stale_policy prefer_positive: serve_stale_policy requires serve_stale"},
		{"cache {\n nonsense\n}", `12: cache: nonsense: arguments are missing, or too many, or not known, after "nonsense"`},
		{"cache\ncache", "12: cache: this plugin can only be used once per Server Block"},
		{"cache {\n prefetch 10 1q\n}", `12: cache: prefetch 10 1q: "q" is no unit of time: want ms, s, m or h, as in 5s`},
		{"cache {\n prefetch 10 x\n}", `12: cache: prefetch 10 x: "x" is no duration: want a number and a unit, such as 5s`},
		{"forward . 192.0.2.1 {\n max_fails x\n}", `12: forward: max_fails x: "x" is not a number`},
		{"forward a 192.0.2.1\nforward b 192.0.2.2 {\n expire -1s\n}", "13: forward: expire -1s: expire can't be negative: -1s"},
		{"forward . dns.example:53 tls://dns.example.org%name {\n resolver 192.0.2.9\n}", ""},
		{"forward . frobnicate", `11: forward . frobnicate: "frobnicate" is no address of a server: want an IP address, a file such as /etc/resolv.conf, or a name with a dot in it`},
		{"forward . 192.0.2.300", `11: forward . 192.0.2.300: "192.0.2.300" is no address of a server: want an IP address, a file such as /etc/resolv.conf, or a name with a dot in it`},
		{"forward . /none/resolv.conf", "not here: 11: forward . /none/resolv.conf: looking for nameservers: stat /none/resolv.conf: no such file or directory"},
		{"file /none/db", ""}, // the plugin looks again and again
		{"health :99999", `11: health :99999: "99999" is no port: want a number from 1 to 65535`},
		{"health 8080", `11: health 8080: "8080" lacks a port: want ADDRESS:PORT, or :PORT for all addresses`},
		{"health ::1:80", `11: health ::1:80: "::1:80" is not ADDRESS:PORT: an IPv6 address belongs in brackets, as in [::1]:8080`},
		{"ready {\n monitor x\n}", "12: ready: monitor x: monitor type 'x' not supported"},
		{"reload 1s", "11: reload 1s: interval value must be greater or equal to 2s"},
		{"errors {\n consolidate 5 x\n}", "12: errors: consolidate 5 x: "},
		{"template IN A {\n answer \"{{ .Name \"\n}", "12: template: "},
		{"keep {\n size 1\n}", "12: keep: size 1: "},
		{"packetcache {\n ttl 5\n}", `12: packetcache: ttl 5: ttl "5": want a duration such as 1s, of 1h at most`},
		{"whoami now", "11: whoami now: "},
	} {
		f, err := Parse("Corefile", []byte(good+".:53 {\n"+tt.body+"\n}\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		faults, err := f.All(order)
		got := ""
		for _, fault := range faults {
			got += map[bool]string{true: "not here: "}[fault.NotHere] + fmt.Sprintf("%d: %s\n", fault.Line, fault)
		}
		if err != nil || !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != min(1, len(tt.want)) {
			t.Errorf("%s\ngot  %s, %v\nwant %s", tt.body, got, err, tt.want)
		}
	}
}

// TestImported has the fault in a file that the Corefile imports.
func TestImported(t *testing.T) {
	path := writeFile(t, "\n\ncache {\n    success x\n}\n")
	f, err := Parse("Corefile", []byte(". {\n    import "+path+"\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	fault, ok := f.First("cache")
	if !ok || fault.File != path || fault.Line != 4 {
		t.Errorf("got %+v, %t", fault, ok)
	}
}

// TestSafe runs the setups without a goroutine that stays.
func TestSafe(t *testing.T) {
	f, err := Parse("Corefile", []byte(". {\n    cache\n    keep "+t.TempDir()+"\n    packetcache\n    forward . 192.0.2.1 {\n        max_fails x\n    }\n    health 192.0.2.1:80\n    errors {\n        consolidate 5s x\n    }\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 20 {
		if faults, err := f.All(order); len(faults) != 1 || err != nil {
			t.Fatal(faults, err)
		}
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, and %d before", after, before)
	}
}

// TestFirstBesideServers: First runs no setup that changes what the servers of the process use, and none that looks names up.
func TestFirstBesideServers(t *testing.T) {
	f, err := Parse("Corefile", []byte(". {\n    ready 1\n    hosts {\n        nonsense\n    }\n    forward . nameserver.invalid {\n        frobnicate\n    }\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, directive := range []string{"ready", "hosts", "nodelocal"} {
		if fault, ok := f.First(directive); ok {
			t.Errorf("%s: %v", directive, fault)
		}
	}
	if fault, ok := f.First("forward"); !ok || fault.Line != 7 { // the name is in line 6
		t.Errorf("forward: %v, %v; want the option", fault, ok)
	}
}
