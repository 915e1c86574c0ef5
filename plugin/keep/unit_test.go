// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// block returns the first server block of a Corefile.
func block(t *testing.T, text string) caddyfile.ServerBlock {
	t.Helper()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(text), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return blocks[0]
}

func TestRulesOf(t *testing.T) {
	base := rules{cached: true, success: limits{5 * time.Second, time.Hour}, denial: limits{5 * time.Second, 30 * time.Minute}}
	with := func(change func(*rules)) rules {
		r := base
		change(&r)
		return r
	}
	for text, want := range map[string]rules{
		"":                                      {success: limits{0, time.Hour}, denial: limits{0, 30 * time.Minute}},
		"cache":                                 base,
		"cache 30":                              with(func(r *rules) { r.success.most, r.denial.most = 30*time.Second, 30*time.Second }),
		"cache 30 example.org":                  with(func(r *rules) { r.success.most, r.denial.most = 30*time.Second, 30*time.Second }),
		"cache example.org":                     base,
		"cache {\n success 100\n denial 100\n}": base,
		"cache {\n success 100 60 0\n denial 100 10 1\n}": with(func(r *rules) { r.success, r.denial = limits{0, time.Minute}, limits{time.Second, 10 * time.Second} }),
		"cache {\n keepttl\n}":                            with(func(r *rules) { r.keepTTL = true }),
		"cache {\n disable success\n disable denial a.test b.test\n}": with(func(r *rules) {
			r.successOff, r.denialOff = []string{"."}, []string{"a.test.", "b.test."}
		}),
		"cache {\n serve_stale\n}":    with(func(r *rules) { r.stale = stale{mode: staleImmediate, upTo: time.Hour} }),
		"cache {\n serve_stale 0s\n}": with(func(r *rules) { r.stale = stale{} }),
		"cache {\n serve_stale 1m immediate 3s 4s\n}": with(func(r *rules) {
			r.stale = stale{staleImmediate, time.Minute, 0, 3 * time.Second, 4 * time.Second, false}
		}),
		"cache {\n serve_stale 1m verify\n}": with(func(r *rules) { r.stale = stale{mode: staleVerify, upTo: time.Minute} }),
		"cache {\n serve_stale 1m Verify 700ms 5s 6s\n serve_stale_policy prefer_positive\n}": with(func(r *rules) {
			r.stale = stale{staleVerify, time.Minute, 700 * time.Millisecond, 5 * time.Second, 6 * time.Second, true}
		}),
		"cache {\n prefetch 2 1m 20%\n servfail 1s\n}": base,
	} {
		if got := rulesOf(block(t, ".:53 {\n"+text+"\n}").Tokens["cache"]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", text, got, want)
		}
	}
}

func TestHashOf(t *testing.T) {
	dir := t.TempDir()
	resolv := filepath.Join(dir, "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(resolv, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nameserver 192.0.2.1")
	text := ".:53 {\n cache 30\n keep\n forward . " + resolv + " {\n  max_fails 0\n }\n}"
	want := hashOf(block(t, text))
	for name, same := range map[string]string{
		"itself":        text,
		"a comment":     strings.Replace(text, " keep", " # a comment\n keep", 1),
		"other metrics": strings.Replace(text, " keep", " keep\n prometheus :9254\n errors {\n  stacktrace\n }", 1),
		"another size":  strings.Replace(text, " keep", " keep /run/state {\n  size 1000000\n  bare_denial 5s\n }", 1),
		"another order": strings.Replace(text, " cache 30\n keep", " keep\n cache 30", 1),
	} {
		if hashOf(block(t, same)) != want {
			t.Errorf("%s is another block", name)
		}
	}
	for name, other := range map[string]string{
		"another cache line": strings.Replace(text, "30", "31", 1),
		"a rewrite":          strings.Replace(text, "keep", "keep\n rewrite name a. b.", 1),
		"another zone":       strings.Replace(text, ".:53", "a.:53", 1),
		"another upstream":   strings.Replace(text, resolv, "192.0.2.1", 1),
		"other lines":        strings.Replace(text, "max_fails 0", "max_fails\n 0", 1),
	} {
		if hashOf(block(t, other)) == want {
			t.Errorf("%s is the same block", name)
		}
	}
	write("nameserver 192.0.2.2")
	if hashOf(block(t, text)) == want {
		t.Error("another resolv.conf is the same block")
	}
}

func TestJudge(t *testing.T) {
	r := rulesOf(block(t, ".:53 {\n cache {\n success 1 60\n denial 1 20\n disable success off.test\n disable denial off.test\n }\n}").Tokens["cache"])
	r.bareDenial = 10 * time.Second
	const soa = "test. 15 IN SOA ns.test. root.test. 1 7200 900 1209600 15"
	for name, test := range map[string]struct {
		rcode    int
		question string
		answer   []string
		ns       string
		want     store.Kind
		lifetime time.Duration
	}{
		"an address":                     {0, "a.test.", []string{"a.test. 40 IN A 192.0.2.1"}, "", store.Positive, 40 * time.Second},
		"the least TTL counts":           {0, "a.test.", []string{"a.test. 50 IN CNAME b.test.", "b.test. 40 IN A 192.0.2.1"}, "", store.Positive, 40 * time.Second},
		"at most":                        {0, "a.test.", []string{"a.test. 400 IN A 192.0.2.1"}, "", store.Positive, time.Minute},
		"at least":                       {0, "a.test.", []string{"a.test. 0 IN A 192.0.2.1"}, "", store.Positive, 5 * time.Second},
		"disabled":                       {0, "a.off.test.", []string{"a.off.test. 40 IN A 192.0.2.1"}, "", store.Positive, 0},
		"NXDOMAIN":                       {3, "a.test.", nil, soa, store.Denial, 15 * time.Second},
		"NODATA":                         {0, "a.test.", nil, soa, store.Denial, 15 * time.Second},
		"NODATA of an alias":             {0, "a.test.", []string{"a.test. 50 IN CNAME b.test."}, soa, store.Denial, 15 * time.Second},
		"denial, disabled":               {3, "a.off.test.", nil, soa, store.Denial, 0},
		"NXDOMAIN without SOA":           {3, "a.test.", nil, "", store.Denial, 10 * time.Second},
		"NODATA without SOA":             {0, "a.test.", nil, "", store.Denial, 10 * time.Second},
		"NODATA of an alias without SOA": {0, "a.test.", []string{"a.test. 7 IN CNAME b.test."}, "", store.Denial, 7 * time.Second},
		"NXDOMAIN of an alias":           {3, "a.test.", []string{"a.test. 50 IN CNAME b.test."}, soa, store.Denial, 0}, // cache does not keep it
		"a referral":                     {0, "a.test.", nil, "test. 15 IN NS ns.test.", store.Denial, 0},
		"SERVFAIL":                       {2, "a.test.", nil, "", store.Denial, 0},
		"REFUSED":                        {5, "a.test.", nil, "", store.Denial, 0},
		"a loop of aliases":              {0, "a.test.", []string{"a.test. 7 IN CNAME b.test.", "b.test. 7 IN CNAME a.test."}, soa, store.Denial, 7 * time.Second},
	} {
		m := new(dns.Msg).SetQuestion(test.question, dns.TypeA)
		m.Response, m.Rcode = true, test.rcode
		for _, a := range test.answer {
			m.Answer = append(m.Answer, record4(a))
		}
		if test.ns != "" {
			m.Ns = []dns.RR{record4(test.ns)}
		}
		if k, lifetime := r.judge(m); k != test.want || lifetime != test.lifetime {
			t.Errorf("%s: %s for %s, want %s for %s", name, k, lifetime, test.want, test.lifetime)
		}
		if m.Truncated = true; true {
			if _, lifetime := r.judge(m); lifetime != 0 {
				t.Errorf("%s, truncated: %s", name, lifetime)
			}
		}
	}
}

func TestReply(t *testing.T) {
	r := new(dns.Msg).SetQuestion("A.test.", dns.TypeA)
	r.CheckingDisabled = true
	m := address("192.0.2.1", 30)(new(dns.Msg).SetQuestion("a.test.", dns.TypeA))
	m.SetEdns0(1232, false)
	wire := packed(m)
	got := reply(r, wire)
	if got == nil {
		t.Fatal("no reply")
	}
	if got.Id != r.Id || got.Question[0] != r.Question[0] || !got.CheckingDisabled || !got.RecursionAvailable || got.IsEdns0() != nil || short(got) != "192.0.2.1 30" {
		t.Error(got)
	}
	other := new(dns.Msg).SetQuestion("b.test.", dns.TypeA)
	if reply(other, wire) != nil || reply(r, wire[:20]) != nil || reply(r, nil) != nil {
		t.Error("a reply to another question")
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"keep": "",
		"keep /run/state {\n size 1000000\n bare_denial 5s\n}": "",
		"keep /a /b":                  "Wrong argument count",
		"keep state":                  `directory "state": want an absolute path`,
		"keep {\n size\n}":            "size: want one value, got 0",
		"keep {\n size 8M\n}":         `size "8M": want octets, from 262144 to 1073741824`,
		"keep {\n size 1000\n}":       `size "1000": want octets, from 262144 to 1073741824`,
		"keep {\n bare_denial 0s\n}":  `bare_denial "0s": want a duration such as 5s, from 1s to 5m`,
		"keep {\n bare_denial 1h\n}":  `bare_denial "1h": want a duration such as 5s, from 1s to 5m`,
		"keep {\n bare_denials 1h\n}": `unknown option "bare_denials": known are size and bare_denial`,
		"keep\nkeep":                  "given twice in one server block",
	} {
		d, err := parse(caddy.NewTestController("dns", text))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if text != "keep" && (d.Options != store.Options{Dir: "/run/state", Size: 1000000} || d.bareDenial != 5*time.Second) {
			t.Errorf("%s: %+v", text, d)
		}
	}
}

func TestServerBlocksSayTheSame(t *testing.T) {
	a := directive{Options: store.Options{Dir: "/a", Size: 1 << 20}, where: "Corefile:1"}
	none := directive{where: "Corefile:2"}
	dir := directive{Options: store.Options{Dir: "/b"}, where: "Corefile:3"}
	size := directive{Options: store.Options{Size: 2 << 20}, where: "Corefile:4"}
	for _, test := range []struct {
		all  []directive
		want string
	}{
		{[]directive{a, none, a}, ""},
		{[]directive{none, dir, size}, ""},
		{[]directive{a, dir}, "Corefile:3: the directory differs from that at Corefile:1"},
		{[]directive{a, size}, "Corefile:4: size differs from that at Corefile:1"},
	} {
		conf := &config{Options: store.Options{Size: store.DefaultSize}}
		var err error
		for _, d := range test.all {
			if err == nil {
				err = conf.add(d)
			}
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}
