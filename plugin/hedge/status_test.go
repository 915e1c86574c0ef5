// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/whoami"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// TestStatus has one upstream that answers, one that does not, and one that nobody asks.
func TestStatus(t *testing.T) {
	good, bad, idle := serve(t, answersAll).addr, serve(t, silentAlways).addr, serve(t, answersAll).addr
	up, down, unused := hedge(t, nil, good), hedge(t, func(o *options) { o.Timeout = 50 * time.Millisecond }, bad), hedge(t, nil, idle)
	tells := &teller{all: []told{{up, []string{"a.test."}, 0}, {up, []string{"b.test."}, 0}, {down, []string{"."}, time.Hour}, {unused, []string{"c.test."}, 0}}}
	begin := time.Now()
	for _, h := range []*Hedge{up, down} {
		_, _, _ = ask(h, "www.test.") // one of them fails
	}
	until(t, "silence", func() bool { return !down.upstreams[0].health.ok() })
	var r status.Report
	tells.describe(&r)
	got := ""
	for _, u := range r.Upstreams {
		got += fmt.Sprintln(u.Zones, u.Answered.After(begin), u.Silent, !u.Since.IsZero(), u.Stale, u.Timeout)
	}
	if want := "[a.test. b.test.] true false false 0 1\n[.] false true true 3600 0.05\n[c.test.] false false false 0 1\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStatusOfConfigurations reads zones and the time of old answers from server blocks, and follows a reload and one that fails.
func TestStatusOfConfigurations(t *testing.T) {
	caddy.Quiet, dnsserver.Directives = true, []string{"bind", "cache", "hedge", "whoami"}
	block := func(zones, cache string) string {
		return zones + " {\n bind 127.0.0.1\n " + cache + "\n hedge . 127.0.0.1:1\n}\n"
	}
	dir := t.TempDir()
	input := func(text string) caddy.Input {
		path := filepath.Join(dir, "Corefile")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return caddy.CaddyfileInput{Filepath: path, Contents: []byte(text), ServerTypeName: "dns"}
	}
	check := func(what, want string) {
		t.Helper()
		got := ""
		for _, u := range status.Collect().Upstreams {
			got += fmt.Sprintf("%v %g\n", u.Zones, u.Stale)
		}
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
		}
	}
	first := block("a.test:0 b.test:0", "cache 30 {\n serve_stale 5m verify\n }") + block("c.test:0", "cache {\n serve_stale\n }") + block("d.test:0", "")
	inst, err := caddy.Start(input(first))
	if err != nil {
		t.Fatal(err)
	}
	check("start", "[a.test. b.test.] 300\n[c.test.] 3600\n[d.test.] 0\n")
	if _, err := inst.Restart(input(block("e.test:0", "") + "f.test:0 {\n bind 192.0.2.77\n whoami\n}\n")); err == nil {
		t.Fatal("no error although the host has no such address")
	}
	check("reload that fails", "[a.test. b.test.] 300\n[c.test.] 3600\n[d.test.] 0\n")
	next, err := inst.Restart(input(block("g.test:0", "cache")))
	if err != nil {
		t.Fatal(err)
	}
	check("reload", "[g.test.] 0\n")
	for _, f := range next.OnShutdown {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	check("end", "")
	if err := next.Stop(); err != nil {
		t.Error(err)
	}
}
