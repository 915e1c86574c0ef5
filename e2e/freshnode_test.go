// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

const unknownDirective = ".:53 {\n    nosuchdirective\n}\n"

// fault is an input with which a cache is started on a node.
type fault struct {
	name    string
	base    string            // template; empty: a good one
	conf    bool              // base runs as it is
	args    []string          // of the command line
	files   map[string]string // of the kube-dns ConfigMap
	resolv  string            // resolv.conf; empty: a good one
	prepare func(t *testing.T, l *lab.Lab)
	runs    bool // the cache runs, without what is at fault
}

// kubeDNSFaults are those that k8s-dns-node-cache logs and ignores, and one that it does not notice.
var kubeDNSFaults = []fault{
	{name: "stub domain by a host name", files: map[string]string{"stubDomains": `{"corp.test": ["ns.corp.test"]}`}, runs: true},
	{name: "trailing comma", files: map[string]string{"stubDomains": `{"corp.test": ["10.1.2.3"],}`}, runs: true},
	{name: "four upstreams", files: map[string]string{"upstreamNameservers": `["10.1.2.1","10.1.2.2","10.1.2.3","10.1.2.4"]`}, runs: true},
	{name: "no JSON", files: map[string]string{"upstreamNameservers": "8.8.8.8"}, runs: true},
	{name: "its own ClusterIP", files: map[string]string{"upstreamNameservers": `["10.96.0.10"]`}, runs: true},
	{name: "both keys", files: map[string]string{"upstreamNameservers": "8.8.8.8", "stubDomains": "{"}, runs: true},
	{name: "https", files: map[string]string{"upstreamNameservers": `["https://192.0.2.1"]`}, runs: true},
	{name: "file name", files: map[string]string{"stubDomains": `{"corp.test": ["/etc/resolv.conf"]}`}, runs: true},
	{name: "byte order mark", files: map[string]string{"stubDomains": "\uFEFF{}"}, runs: true},
	{name: "two addresses in a string", files: map[string]string{"stubDomains": `{"corp.test": ["10.1.2.3 10.1.2.4"]}`}, runs: true},
}

// otherFaults end the start where no cache has served before.
var otherFaults = []fault{
	{name: "resolv.conf with search only", resolv: "search corp.test\n"},
	{name: "resolv.conf with the ClusterIP only", resolv: "nameserver 10.96.0.10\n"},
	{name: "unknown directive", base: unknownDirective},
	{name: "argument of a directive", base: ".:53 {\n    bind 169.254.20.10 10.96.0.10\n    forward .\n}\n"},
	{name: "template is not there", args: []string{"-basecorefile", "/nonexistent"}},
	{name: "comma at the end, as of the guide's sed line for IPVS", base: unknownDirective, args: []string{"-localip", "169.254.20.10,"}},
	{name: "port of health", base: strings.ReplaceAll(fourBlocks(ipv4), "health 169.254.20.10:8080", "health 127.0.0.1:8080"), prepare: listen("tcp", "127.0.0.1:8080")},
	{name: "port of metrics", args: []string{"-metrics-listen-address", "192.0.2.99:1"}},
	{name: "port of DNS", prepare: listen("udp", ":53")},
	{name: "link", prepare: func(t *testing.T, l *lab.Lab) { foreignLink(t, l.Node) }},
	{name: "Corefile of its author's", base: strings.Replace(stanza("nftables", "fallback 10.96.0.10"), "cache 30", "cache {\n nonsense\n }", 1), conf: true},
}

// listen occupies a port of the node, which it does not share.
func listen(network, addr string) func(*testing.T, *lab.Lab) {
	return func(t *testing.T, l *lab.Lab) {
		var closer interface{ Close() error }
		err := l.Node.Run(func() (err error) {
			if network == "udp" {
				closer, err = net.ListenPacket(network, addr)
			} else {
				closer, err = net.Listen(network, addr)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closer.Close() })
	}
}

// launch starts a cache with the fault, and with state in a directory of its own.
func (f fault) launch(t *testing.T, l *lab.Lab, state string) (c *cache, kubeDNS string) {
	t.Helper()
	kubeDNS = harness.Dir(t)
	for name, text := range f.files {
		harness.Replace(t, filepath.Join(kubeDNS, name), text)
	}
	if f.resolv != "" {
		l.Node.ResolvConf(t, f.resolv)
	}
	if f.prepare != nil {
		f.prepare(t, l)
	}
	args := []string{"-statedir", state}
	if !f.conf {
		args = append(args, "-kubednscm", kubeDNS)
	}
	return launch(t, l, options{firewall: lab.NFTables, base: f.base, conf: f.conf, args: append(args, f.args...)}), kubeDNS
}

// TestFreshNode starts a cache with each fault on a node that never had one. 169.254.20.10 is answered whatever comes of it, and of
// the ConfigMap of kube-dns no fault keeps the cache from running.
func TestFreshNode(t *testing.T) {
	for _, f := range append(append([]fault{}, kubeDNSFaults...), otherFaults...) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.NFTables)
			c, kubeDNS := f.launch(t, l, harness.Dir(t))
			if !f.runs {
				if code := c.Wait(t, 10*time.Second); code != 1 {
					t.Errorf("exit code %d", code)
				}
				answered(t, l, ipv4)
				if cache, direct := sources(l.ClusterDNS.Seen("web.")); cache > 0 && direct == 0 {
					t.Error("answered by a cache")
				}
				l.Node.Exec(t, "", harness.NodeLocalDNS(t), "cleanup")
				if left := l.Node.State(t).With("nodelocaldns"); len(left.Without(left.With("link"))) > 0 {
					t.Errorf("left after cleanup:\n%s", left)
				}
				return
			}
			c.waitSteering(t, true, steeringTimeout)
			answered(t, l, ipv4)
			c.validIs(t, 0)
			c.said(t, "Running what the files say without ")
			if n := strings.Count(c.Output(), "[ERROR]") - strings.Count(c.Output(), "[ERROR] plugin/errors"); n != 1 { // of queries a busy machine may fail some
				t.Errorf("%d errors:\n%s", n, c.Output())
			}
			t.Log(lastError(c.Output()))
			for name := range f.files {
				harness.Remove(t, filepath.Join(kubeDNS, name))
			}
			c.validIs(t, 1)
			harness.Replace(t, kubeDNS+"/stubDomains", fmt.Sprintf(`{"example.org": [%q]}`, lab.DNSPodIP))
			waitStub(t, l)
			c.validIs(t, 1)
		})
	}
}

// validIs waits until the gauge says whether the configuration is valid.
func (c *cache) validIs(t *testing.T, want float64) {
	t.Helper()
	harness.Until(t, 10*time.Second, fmt.Sprintf("config_valid %g", want), func() error {
		page, err := c.page()
		if err != nil {
			return err
		}
		v, err := process.Metric(page, "coredns_nodelocal_config_valid")
		if err == nil && v != want {
			err = fmt.Errorf("%g", v)
		}
		return err
	})
}

// TestFallbackIsFirst has a template that cannot be read to its end, as on a file system that hangs: 169.254.20.10 is answered.
func TestFallbackIsFirst(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	pipe := filepath.Join(harness.Dir(t), "Corefile.base")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	c := launch(t, l, options{firewall: lab.IPTablesNFT, addrs: dual, args: []string{"-basecorefile", pipe}})
	for _, a := range clusterIPs(dual) {
		harness.Until(t, 10*time.Second, "a fallback table", func() error { return has(l, "daddr set "+a.String())(t) })
	}
	answered(t, l, dual)
	if !c.Running() {
		t.Error("it has ended")
	}
	if made := l.Node.State(t).With("nodelocaldns "); len(made.Without(made.With("fallback"))) > 0 {
		t.Errorf("more than the table:\n%s", made)
	}
	c.Signal(t, syscall.SIGKILL)
	c.Wait(t, 5*time.Second)
	answered(t, l, dual)
}

// TestFailedStartBesideACache starts one that cannot run beside one that serves, as an update with a surge does: no rule is
// touched, no query fails, and the table still answers when the one that served has gone.
func TestFailedStartBesideACache(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall})
			c.settle(t)
			before := handlesOf(t, l)
			loads := client.StartAll(t, clients(l, ipv4...)...)
			progress(t, loads, 4)
			for range 3 {
				next := launch(t, l, options{firewall: firewall, base: unknownDirective, args: []string{"-statedir="}})
				if code := next.Wait(t, 10*time.Second); code != 1 {
					t.Errorf("exit code %d", code)
				}
			}
			progress(t, loads, 4)
			if now := handlesOf(t, l); now != before {
				t.Errorf("rules were touched:\n%s\nbefore:\n%s", now, before)
			}
			c.term(t)
			progress(t, loads, 4)
			noFailure(t, stop(t, loads))
		})
	}
}

// TestFailedStartBesideAnotherCache has a program like k8s-dns-node-cache at the address: its clients stay with it, also those
// whose TCP connection is open, and the cluster DNS has the address when it has gone.
func TestFailedStartBesideAnotherCache(t *testing.T) {
	const corefile = ".:53 {\n    bind 169.254.20.10\n    template IN A {\n        answer \"{{ .Name }} 60 IN A 198.51.100.9\"\n    }\n}\n"
	l := lab.New(t, lab.NFTables)
	path := filepath.Join(harness.Dir(t), "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Node.Exec(t, "", "ip", "addr", "add", "169.254.20.10/32", "dev", "lo")
	other := process.Start(t, l.Node, process.Command{Path: harness.NodeLocalDNS(t), Args: []string{"-conf", path, "-quiet", "-statedir="}})
	ask := func() {
		t.Helper()
		harness.Until(t, 20*time.Second, "answers of the other program", func() error { return othersAnswer(l, lab.LinkLocal) })
	}
	ask()
	long := fromPort(t, l.Pod, 40404, client.Port53(lab.LinkLocal).String())
	askOver(t, long, "before")
	next := launch(t, l, options{firewall: lab.NFTables, base: unknownDirective, args: []string{"-metrics-listen-address=", "-statedir="}})
	if code := next.Wait(t, 10*time.Second); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if len(l.Node.State(t).With("nodelocaldns_fallback")) == 0 {
		t.Error("no fallback table")
	}
	for range 5 {
		if err := othersAnswer(l, lab.LinkLocal); err != nil {
			t.Error(err)
		}
		askOver(t, long, "after")
	}
	other.Signal(t, syscall.SIGTERM)
	other.Wait(t, 10*time.Second)
	l.Node.Exec(t, "", "ip", "addr", "del", "169.254.20.10/32", "dev", "lo")
	answered(t, l, ipv4)
}

// othersAnswer asks at the address over both protocols, from pod and node.
func othersAnswer(l *lab.Lab, at netip.Addr) error {
	for _, tcp := range []bool{false, true} {
		for _, from := range []*netns.Namespace{l.Pod, l.Node} {
			m, err := client.Ask(from, client.Query{Server: client.Port53(at), TCP: tcp, Name: "web.default.svc.cluster.local.", Type: 1, Timeout: time.Second})
			if err != nil {
				return err
			}
			if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "198.51.100.9") {
				return fmt.Errorf("%s", m)
			}
		}
	}
	return nil
}
