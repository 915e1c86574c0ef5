// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// TestCommandErrors looks at what a mistake looks like from outside: one line,
// the culprit in it, the exit code.
func TestCommandErrors(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // without SO_REUSEPORT
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	_, port, _ := net.SplitHostPort(taken)
	conf := func(text string) string { return writeFile(t, t.TempDir(), "Corefile", text) }
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	const off = "-metrics-listen-address="
	tests := []struct {
		name string
		args []string
		code int
		want string // KEY is the path of the last argument
	}{
		{"flag", []string{"-foo"}, 2, "unknown flag -foo; see nodelocaldns -help"},
		{"command", []string{"start"}, 2, `unknown command "start"; see nodelocaldns -help`},
		{"near command", []string{"verison"}, 2, `unknown command "verison" (did you mean "version"?); see nodelocaldns -help`},
		{"version with arguments", []string{"version", "-v"}, 2, `unknown flag -v; see nodelocaldns -help`},
		{"render flag", []string{"render", "-localip", "x"}, 2, `invalid value "x" for flag -localip: "x" is not an IP address; see nodelocaldns -help`},
		{"near word", []string{"render", "manifest"}, 2, `unexpected argument "manifest" (did you mean "manifests"?); see nodelocaldns -help`},
		{"help of nothing", []string{"help", "manifests"}, 2, `unknown command "manifests"; see nodelocaldns -help`},
		{"cleanup flag", []string{"cleanup", "-force"}, 2, "unknown flag -force; see nodelocaldns -help"},
		{"cleanup argument", []string{"cleanup", "eth0"}, 2, `unexpected argument "eth0"; see nodelocaldns -help`},
		{"metrics address", []string{"-metrics-listen-address", "192.0.2.1:9353"}, 1,
			"serving metrics (-metrics-listen-address): listen tcp 192.0.2.1:9353: bind: cannot assign requested address"},
		{"no Corefile", []string{off, "-conf", dir + "/none"}, 1, "reading Corefile: open KEY: no such file or directory"},
		{"no template", []string{off, "-localip", "169.254.20.10", "-basecorefile", dir + "/none"}, 1,
			"reading template: open KEY: no such file or directory"},
		{"empty Corefile", []string{off, "-conf", conf("# nothing\n")}, 1, "KEY: no server block in it"},
		{"syntax", []string{off, "-conf", conf(".:0 {\n whoami\n")}, 1, "KEY:2: Unexpected token 'whoami', expecting '}'"},
		{"directive not compiled in", []string{off, "-conf", conf(".:0 {\n whoami\n trace\n}\n")}, 1,
			`KEY:3: directive "trace" is part of CoreDNS but not of this binary: add the line "trace:trace" to plugin.cfg and run make build`},
		{"unknown directive", []string{off, "-conf", conf(".:0 {\n forwrad . 192.0.2.1\n}\n")}, 1,
			`KEY:2: unknown directive "forwrad" (did you mean "forward"?)`},
		{"address in use", []string{off, "-dns.port", port, "-conf", conf(". {\n bind 127.0.0.1\n whoami\n}\n")}, 1,
			"listening on " + taken + " (tcp): address already in use: another DNS server listens there; stop it or change -localip or -dns.port; tcp " + taken +
				fmt.Sprintf(" is held by pid %d (%.15s), user %d", os.Getpid(), filepath.Base(os.Args[0]), os.Getuid())},
		{"foreign address", []string{off, "-conf", conf(".:0 {\n bind 192.0.2.1\n whoami\n}\n")}, 1,
			"KEY:2: bind 192.0.2.1: no interface has this address, and no nodelocal stanza names it"},
		{"plugin's syntax", []string{off, "-conf", conf(".:0 {\n whoami {\n}\n")}, 1, "KEY:2: whoami: Unexpected token '{', expecting argument"},
		{"plugin", []string{off, "-conf", conf(".:0 {\n bind 127.0.0.1\n cache {\n  success x\n }\n}\n")}, 1,
			`KEY:4: cache: success x: "x" is not a number`},
		{"plugin in a template", []string{off, "-localip", "127.0.0.1", "-link", "none", "-firewall", "none", "-fallback", "none", "-dns.port", "5353", "-basecorefile",
			conf(". {\n    bind __PILLAR__LOCAL__DNS__\n    cache {\n        prefetch 500 5\n    }\n}\n")}, 1,
			"KEY:4: cache: prefetch 500 5: a duration needs a unit, such as 5s"},
		{"port", []string{off, "-conf", conf(".:0 {\n bind 127.0.0.1\n health A:99999\n whoami\n}\n")}, 1,
			`KEY:3: health A:99999: "99999" is no port: want a number from 1 to 65535`},
		{"removed directive", []string{off, "-conf", conf(".:0 {\n proxy . 1.2.3.4\n}\n")}, 1,
			`KEY:2: unknown directive "proxy": use forward, which has taken its place (forward . 10.96.0.10)`},
		{"two files to check", []string{"check", "a", "b"}, 2, `unexpected argument "b": want one FILE, behind all flags; see nodelocaldns -help`},
		{"a pipe to check", []string{"check", pipe}, 2,
			"KEY can be read only once: -localip says that it is a template, -conf KEY that it is a Corefile; see nodelocaldns -help"},
		{"form of a check", []string{"check", "-o", "xml"}, 2, `invalid value "xml" for flag -o: want table or json; see nodelocaldns -help`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := result(t, program(t, tt.args...))
			want := "nodelocaldns: " + strings.ReplaceAll(tt.want, "KEY", tt.args[len(tt.args)-1]) + "\n"
			if stderr != want || code != tt.code {
				t.Errorf("exit code %d, want %d\ngot  %swant %s", code, tt.code, stderr, want)
			}
		})
	}
}

func TestCommandOutput(t *testing.T) {
	conf := writeFile(t, t.TempDir(), "Corefile", ".:0 {\n    whoami # as it is\n}\n")
	tests := []struct {
		args string
		want []string
	}{
		{"version", []string{"nodelocaldns dev (commit unknown)\n", "CoreDNS 1.15.0\n", "go1."}},
		{"-version", []string{"nodelocaldns dev"}},
		{"help", []string{"Usage:\n", "-localip IP,..."}},
		{"-help", []string{"Usage:\n"}},
		{"cleanup -h", []string{"Usage:\n"}},
		{"-plugins", []string{"nodelocal\npacketcache\nmetadata\n", "\nview\n"}},
		{"render -conf " + conf, []string{".:0 {\n    whoami # as it is\n}\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := result(t, program(t, strings.Fields(tt.args)...))
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			contains(t, stdout, tt.want...)
		})
	}
}

// TestHelp: each command has a help text of its own, which is short, and a row in README.md.
func TestHelp(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, whole, _ := strings.Cut(string(readme), "| subcommand | |\n|---|---|\n")
	table, _, _ := strings.Cut(whole, "\n\n")
	var names []string
	for _, c := range subcommands() {
		if name, more, _ := strings.Cut(c.name, " "); more == "" {
			names = append(names, name)
		}
		if c.name == "help" {
			continue
		}
		if !strings.Contains(table, "| `"+c.name+"` |") {
			t.Errorf("README.md has no row for %s", c.name)
		}
		for _, line := range []string{c.name + " -help", c.name + " -h", "help " + c.name} {
			var stdout, stderr strings.Builder
			code, err := dispatch(strings.Fields(line), &stdout, &stderr)
			if code != exitOK || err != nil || stderr.String() != "" {
				t.Errorf("%s: exit code %d, %v, %s", line, code, err, &stderr)
			}
			want := strings.TrimSpace("Usage:\n  nodelocaldns " + c.name + " " + c.args)
			if got := stdout.String(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") > 30 {
				t.Errorf("%s: want a short text that begins with %q; got\n%s", line, want, got)
			}
		}
	}
	if !slices.Equal(names, options.Commands) {
		t.Errorf("options.Commands has %q, want %q", options.Commands, names)
	}
}

func TestCommandRender(t *testing.T) {
	dir := t.TempDir()
	template := writeFile(t, dir, "Corefile.base",
		"# mine\ncluster.local:53 {\n    bind __PILLAR__LOCAL__DNS__\n    forward . __PILLAR__CLUSTER__DNS__\n}\n")
	out := filepath.Join(dir, "Corefile")
	cmd := program(t, "render", "-localip", "169.254.20.10,fd00::a", "-basecorefile", template, "-conf", out, "-upstreamsvc", "up-stream",
		"-link", "dummy", "-lease", "0", "-fallback", "10.96.0.53")
	cmd.Env = append(cmd.Env, "UP_STREAM_SERVICE_HOST=10.96.0.53")
	stdout, stderr, code := result(t, cmd)
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	const want = `# mine
cluster.local:53 {
    nodelocal 169.254.20.10 fd00::a {
        link dummy
        lease 0s
        fallback 10.96.0.53
    }
    bind 169.254.20.10 fd00::a
    forward . 10.96.0.53
}
`
	if stdout != want {
		t.Errorf("got:\n%s\nwant:\n%s", stdout, want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("render wrote the file of -conf")
	}
	own := writeFile(t, dir, "own", ".:53 {\n    bind __PILLAR__LOCAL__DNS__\n    whoami\n}\n")
	stdout, stderr, code = result(t, program(t, "render", "-localip", "auto", "-basecorefile", own))
	if code != 0 {
		t.Error("exit code", code)
	}
	contains(t, stdout, "nodelocal 169.254.20.10 {\n")
	contains(t, stderr, "nodelocaldns: Local addresses 169.254.20.10: ", "and KUBE_DNS_SERVICE_HOST is not set\n",
		"nodelocaldns: warning: No fallback: KUBE_DNS_SERVICE_HOST is not set")
}
