// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// server is a program under test.
type server struct {
	name, title string
	path        func(testing.TB) string
	config      string   // text of the configuration file
	args        []string // in which CONF is the path of the configuration file, and DIR that of its directory
	env         []string // beside PATH and HOME; it overrides them
	version     string   // argument that makes the program print its version
	metrics     bool     // at metricsURL there are those of a Go program
	loads       []string // those that it can have; empty: all
	ownAddress  bool     // it gives itself its address
}

const metricsURL = "http://127.0.0.1:9253/metrics"

// reference is the server that the others are compared with.
const reference = "stock"

// All caches of the comparison hold more names than they are asked for, and hold them for longer than a run lasts: what is
// compared is their code, not their size. Each has one thread for queries, as it has one core. None logs or validates.
var servers = []server{
	coreDNS("nodelocaldns", "nodelocaldns", harness.NodeLocalDNS, configOf("packetcache")),
	coreDNS("kernel", "nodelocaldns, hits in the kernel", harness.NodeLocalDNS, configOf("packetcache {\n        kernel\n    }")),
	coreDNS("default", "nodelocaldns with hedge, keep and searchpath", harness.NodeLocalDNS, config("Corefile.default")),
	coreDNS("without", "nodelocaldns without packetcache", harness.NodeLocalDNS, configOf("")),
	coreDNS(reference, "stock CoreDNS", harness.Stock, configOf("")),
	{name: "unbound", title: "unbound", path: which("unbound"), version: "-V", config: config("unbound.conf"), args: []string{"-d", "-c", "CONF"}},
	{name: "dnsmasq", title: "dnsmasq", path: which("dnsmasq"), version: "-v", config: config("dnsmasq.conf"), args: []string{"-k", "-C", "CONF"}},
	{
		name: "dnsdist", title: "dnsdist", path: which("dnsdist"), version: "--version",
		config: config("dnsdist.conf"), args: []string{"--supervised", "-C", "CONF"},
	},
	{name: "kresd", title: "knot-resolver", path: which("kresd"), version: "-V", config: config("kresd.conf"), args: []string{"-n", "-c", "CONF", "DIR"}},
	{name: "floor", title: "bare loop", path: self, loads: []string{"hits", "zipf", byDNSPerf}, args: []string{"floor", serverAddr.String()}},
	{name: "mirror", title: "query sent back by BPF", path: self, loads: []string{"hits", byDNSPerf}, args: []string{"mirror", podLink}},
}

//go:embed configs
var configs embed.FS

func config(name string) string {
	text, err := configs.ReadFile("configs/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(text)
}

// configOf is the usual Corefile with a directive of ours, or without it.
func configOf(directive string) string {
	return strings.ReplaceAll(config("Corefile"), "PACKETCACHE", directive)
}

func coreDNS(name, title string, path func(testing.TB) string, corefile string) server {
	return server{
		name: name, title: title, path: path, config: corefile, args: []string{"-quiet", "-conf", "CONF"},
		version: "-version", metrics: true,
	}
}

// nodeServer is the cache as on a node: it has the usual template of a cluster, owns its address and steers with the firewall,
// whose commands are in the tools' directory.
func nodeServer(firewall lab.Backend, tools *lab.Tools, clusterDNS string) server {
	kind := "iptables"
	if firewall == lab.NFTables {
		kind = "nftables"
	}
	s := coreDNS("node", "nodelocaldns", harness.NodeLocalDNS, config("Corefile.node"))
	s.ownAddress = true
	s.env = []string{"PATH=" + tools.Dir, "KUBE_DNS_UPSTREAM_SERVICE_HOST=" + clusterDNS}
	s.args = []string{
		"-localip", serverAddr.Addr().String(), "-basecorefile", "CONF", "-upstreamsvc", "kube-dns-upstream",
		"-link", "tun", "-firewall", kind, "-quiet",
	}
	return s
}

var stanza = regexp.MustCompile(`(?s)\n\s*nodelocal[^\n]*\{.*?\n\s*\}`)

// withoutNode is stock CoreDNS with the Corefile that a nodeServer would have, but for the stanza of nodelocal.
func withoutNode(h *harness.Host, node *netns.Namespace, s server) server {
	env := append(environment(s.env), s.path(h), "render")
	corefile := node.Exec(h, "", "env", append(env, s.arguments(h)...)...)
	plain := stanza.ReplaceAllString(corefile, "")
	if plain == corefile || strings.Contains(plain, "nodelocal {") {
		h.Fatal("not one stanza of nodelocal in\n" + corefile)
	}
	return coreDNS(reference, "stock CoreDNS", harness.Stock, plain)
}

func which(name string) func(testing.TB) string {
	return func(t testing.TB) string { return harness.Which(t, name) }
}

// self is this program's path.
func self(t testing.TB) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func serverNames() (names []string) {
	for _, s := range servers {
		names = append(names, s.name)
	}
	return names
}

// environment is that of all programs, so that no variable of the caller's tunes one of them.
func environment(more []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/"}, more...)
}

// arguments writes the configuration file.
func (s server) arguments(h *harness.Host) []string {
	path := harness.WriteFile(h, "config", s.config)
	args := slices.Clone(s.args)
	for i, arg := range args {
		args[i] = strings.NewReplacer("CONF", path, "DIR", filepath.Dir(path)).Replace(arg)
	}
	return args
}

// start starts the server on the node, and waits until it answers the pod.
func (s server) start(h *harness.Host, node, pod *netns.Namespace) *process.Process {
	return s.startUntil(h, node, "answer", func() error {
		_, err := client.Ask(pod, client.Query{Server: serverAddr, Name: "ready." + loads.SearchPath[0], Type: dns.TypeA, Timeout: 300 * time.Millisecond})
		return err
	})
}

// startUntil starts the server on the node, and waits until the condition, which it names, gives no error.
func (s server) startUntil(h *harness.Host, node *netns.Namespace, name string, condition func() error) *process.Process {
	p := process.Start(h, node, process.Command{Path: s.path(h), Args: s.arguments(h), Env: environment(s.env)})
	harness.Until(h, 20*time.Second, name+" of "+s.name, func() error {
		if !p.Running() {
			h.Fatal(s.name, " has ended: ", p.Output())
		}
		return condition()
	})
	return p
}
