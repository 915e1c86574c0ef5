// SPDX-License-Identifier: Apache-2.0

package top

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

var report = status.Busiest{
	Seconds: 10, Queries: 40_000,
	Clients: []status.Client{
		{Address: netip.MustParseAddr("10.244.1.5"), Queries: 36_000, Misses: 35_990, NXDomain: 30_000, Name: "0a1b2c3d.example.org."},
		{Address: netip.MustParseAddr("fd00:244:1::7"), Queries: 3975, Misses: 30, Name: "web.default.svc.cluster.local."},
		{Address: netip.MustParseAddr("192.168.1.10"), Queries: 25, Misses: 25},
	},
	Names: []status.Name{{Name: "web.default.svc.cluster.local.", Queries: 3900}, {Name: "0a1b2c3d.example.org.", Queries: 1}},
}

// serve has this process answer in a directory of its own, with n sockets.
func serve(t *testing.T, n int, b *status.Busiest) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Cleanup(status.Provide("busiest", func(r *status.Report) { r.Busiest = b }))
	for range n {
		s, err := status.Serve(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	return dir
}

// fakeKubectl makes a kubectl that runs a script, the only command in PATH but those of the shell; without a script there is none.
func fakeKubectl(t *testing.T, script string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	calls = filepath.Join(dir, "calls")
	if script != "" {
		text := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s\n%s\n", calls, script)
		if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return calls
}

const podsOfNode = `case "$*" in *spec.nodeName=*) echo '{"items": []}'; exit ;; esac
echo '{"items": [
{"metadata": {"namespace": "shop", "name": "crawler-1"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "hostIP": "192.168.1.10",
  "hostIPs": [{"ip": "192.168.1.10"}, {"ip": "fd00:9::10"}], "podIPs": [{"ip": "10.244.1.5"}, {"ip": "fd00:244:1::5"}]}},
{"metadata": {"namespace": "shop", "name": "done"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Succeeded", "hostIP": "192.168.1.10", "podIPs": [{"ip": "fd00:244:1::7"}]}},
{"metadata": {"namespace": "kube-system", "name": "proxy"}, "spec": {"nodeName": "n1", "hostNetwork": true}, "status": {"phase": "Running", "hostIP": "192.168.1.10", "podIPs": [{"ip": "192.168.1.10"}]}},
{"metadata": {"namespace": "shop", "name": "pending"}, "spec": {}, "status": {"phase": "Pending"}}
]}'`

func TestOnce(t *testing.T) {
	for _, tt := range []struct {
		name, script, args string
		sockets            int
		want, stderr       string
	}{
		{"without kubectl", "", "", 1, `4000 queries/s in the last 10.0 s

CLIENT         QUERIES/S  SHARE  MISSES/S  NXDOMAIN/S  A NAME IT ASKS OFTEN
10.244.1.5     3600       90 %   3599      3000        0a1b2c3d.example.org.
fd00:244:1::7  398        10 %   3.0       0           web.default.svc.cluster.local.
192.168.1.10   2.5        0 %    2.5       0           -

NAME                            QUERIES/S  SHARE
web.default.svc.cluster.local.  390        10 %
0a1b2c3d.example.org.           0.1        0 %
`, ""},
		{"with the names of pods", podsOfNode, "-n 3", 1, `4000 queries/s in the last 10.0 s

CLIENT         POD             QUERIES/S  SHARE  MISSES/S  NXDOMAIN/S  A NAME IT ASKS OFTEN
10.244.1.5     shop/crawler-1  3600       90 %   3599      3000        0a1b2c3d.example.org.
fd00:244:1::7  -               398        10 %   3.0       0           web.default.svc.cluster.local.
192.168.1.10   node n1         2.5        0 %    2.5       0           -

NAME                            QUERIES/S  SHARE
web.default.svc.cluster.local.  390        10 %
0a1b2c3d.example.org.           0.1        0 %
`, ""},
		{"two processes, one line", "", "-n 1", 2, `8000 queries/s in the last 10.0 s

CLIENT      QUERIES/S  SHARE  MISSES/S  NXDOMAIN/S  A NAME IT ASKS OFTEN
10.244.1.5  7200       90 %   7198      6000        0a1b2c3d.example.org.

NAME                            QUERIES/S  SHARE
web.default.svc.cluster.local.  780        10 %
`, ""},
		{"no cluster", "echo refused >&2; exit 1", "-n 1", 1, `4000 queries/s in the last 10.0 s

CLIENT      QUERIES/S  SHARE  MISSES/S  NXDOMAIN/S  A NAME IT ASKS OFTEN
10.244.1.5  3600       90 %   3599      3000        0a1b2c3d.example.org.

NAME                            QUERIES/S  SHARE
web.default.svc.cluster.local.  390        10 %

pods have no names: asking the cluster: kubectl: refused
`, ""},
		{"JSON", podsOfNode, "-n 1 -o json", 1, `{"seconds":10,"queries":40000,"clients":[{"address":"10.244.1.5","queries":36000,"misses":35990,"nxdomain":30000,` +
			`"name":"0a1b2c3d.example.org.","pod":"shop/crawler-1"}],"names":[{"name":"web.default.svc.cluster.local.","queries":3900}]}` + "\n", ""},
		{"JSON without kubectl", "", "-n 1 -o json -kubeconfig /none", 1, `{"seconds":10,"queries":40000,"clients":[{"address":"10.244.1.5","queries":36000,"misses":35990,"nxdomain":30000,` +
			`"name":"0a1b2c3d.example.org."}],"names":[{"name":"web.default.svc.cluster.local.","queries":3900}]}` + "\n",
			"nodelocaldns: pods have no names: there is no kubectl in PATH\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := clone(t, report)
			args := append(strings.Fields(tt.args), "-once", "-statedir", serve(t, tt.sockets, &b))
			fakeKubectl(t, tt.script)
			var stdout, stderr bytes.Buffer
			if err := Run(args, &stdout, &stderr); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != tt.want || stderr.String() != tt.stderr {
				t.Errorf("got\n%s%s\nwant\n%s%s", stdout.String(), stderr.String(), tt.want, tt.stderr)
			}
		})
	}
}

func clone(t *testing.T, b status.Busiest) (c status.Busiest) {
	t.Helper()
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestProgramOfTheNode: such a program asks from an address of the cache, which says nothing to a reader.
func TestProgramOfTheNode(t *testing.T) {
	b := clone(t, report)
	b.Clients[0].Address = netip.MustParseAddr("10.96.0.10")
	defer status.Provide("node", func(r *status.Report) {
		r.Node = &status.Node{Addresses: []status.NodeAddress{{Address: b.Clients[0].Address}}}
	})()
	dir := serve(t, 1, &b)
	fakeKubectl(t, "")
	var out bytes.Buffer
	if err := Run([]string{"-once", "-statedir", dir}, &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n10.96.0.10     this node  3600 ", "\nfd00:244:1::7  -          398 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

// TestNode asks for the pods of this node first, and is content with them.
func TestNode(t *testing.T) {
	b := clone(t, report)
	dir := serve(t, 1, &b)
	calls := fakeKubectl(t, `echo '{"items": [{"metadata": {"namespace": "a", "name": "b"}, "status": {"podIPs": [{"ip": "10.244.1.5"}]}}]}'`)
	var out bytes.Buffer
	if err := Run([]string{"-once", "-statedir", dir, "-kubeconfig", "/k", "-context", "c"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	got, _ := os.ReadFile(calls)
	want := "get --request-timeout=10s pods --all-namespaces --output json --field-selector spec.nodeName=" + host + " --kubeconfig /k --context c\n"
	if string(got) != want || !strings.Contains(out.String(), "a/b") {
		t.Errorf("asked %q, want %q\n%s", got, want, out.String())
	}
}

func TestErrors(t *testing.T) {
	fakeKubectl(t, "")
	for _, tt := range []struct{ dir, args, want string }{
		{t.TempDir(), "-once", "no process answers in DIR: is the cache running, as root, and with this -statedir?"},
		{serve(t, 1, nil), "-once", "the process counts no clients: its Corefile has neither packetcache nor nodelocal"},
		{"/x", "-n 0", `invalid value "0" for flag -n: want a number from 1 to 100; see nodelocaldns -help`},
		{"/x", "-interval 1ms", `invalid value "1ms" for flag -interval: want at least 100ms; see nodelocaldns -help`},
		{"/x", "-o yaml", `invalid value "yaml" for flag -o: want table or json; see nodelocaldns -help`},
		{"/x", "now", `unexpected argument "now"; see nodelocaldns -help`},
	} {
		err := Run(append(strings.Fields("-statedir "+tt.dir), strings.Fields(tt.args)...), new(bytes.Buffer), new(bytes.Buffer))
		if want := strings.ReplaceAll(tt.want, "DIR", tt.dir); err == nil || err.Error() != want {
			t.Errorf("%s: got  %v\nwant %s", tt.args, err, want)
		}
	}
	if got := (&command{}).flagSet().Lookup("statedir").DefValue; got != options.Defaults().StateDir {
		t.Errorf("-statedir is %s", got)
	}
}
