// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// server is a program under test.
type server struct {
	name, title string
	path        func(h *harness.Host) string
	args        func(h *harness.Host) []string
	version     []string // arguments that print it
	metrics     bool     // those of a Go program, at metricsURL
	hitsOnly    bool     // it is no cache
}

const metricsURL = "http://127.0.0.1:9253/metrics"

// reference is what the others are compared with.
const reference = "stock"

var servers = []server{
	{
		name: "nodelocaldns", title: "nodelocaldns", path: ours, metrics: true, version: []string{"-version"},
		args: func(h *harness.Host) []string { return coreDNSArgs(h, coreDNSConf, "packetcache") },
	},
	{
		name: "default", title: "nodelocaldns with hedge, keep and searchpath", path: ours, metrics: true, version: []string{"-version"},
		args: func(h *harness.Host) []string { return coreDNSArgs(h, defaultConf, "packetcache") },
	},
	{
		name: "without", title: "nodelocaldns without packetcache", path: ours, metrics: true, version: []string{"-version"},
		args: func(h *harness.Host) []string { return coreDNSArgs(h, coreDNSConf, "") },
	},
	{
		name: reference, title: "stock CoreDNS", path: func(h *harness.Host) string { return harness.Stock(h) }, metrics: true, version: []string{"-version"},
		args: func(h *harness.Host) []string { return coreDNSArgs(h, coreDNSConf, "") },
	},
	{
		name: "unbound", title: "unbound", path: which("unbound"), version: []string{"-V"},
		args: func(h *harness.Host) []string {
			return []string{"-d", "-c", harness.WriteFile(h, "unbound.conf", unboundConf)}
		},
	},
	{
		name: "dnsmasq", title: "dnsmasq", path: which("dnsmasq"), version: []string{"-v"},
		args: func(h *harness.Host) []string {
			return []string{"-k", "-C", harness.WriteFile(h, "dnsmasq.conf", dnsmasqConf)}
		},
	},
	{
		name: "dnsdist", title: "dnsdist", path: which("dnsdist"), version: []string{"--version"},
		args: func(h *harness.Host) []string {
			return []string{"--supervised", "-C", harness.WriteFile(h, "dnsdist.conf", dnsdistConf)}
		},
	},
	{
		name: "kresd", title: "knot-resolver", path: which("kresd"), version: []string{"-V"},
		args: func(h *harness.Host) []string {
			conf := harness.WriteFile(h, "kresd.conf", kresdConf)
			return []string{"-n", "-c", conf, filepath.Dir(conf)}
		},
	},
	{
		name: "floor", title: "bare loop", path: self, hitsOnly: true,
		args: func(*harness.Host) []string {
			return []string{"floor", "-listen", serverAddr.String(), "-upstream", upstreamAddr}
		},
	},
}

func which(name string) func(*harness.Host) string {
	return func(h *harness.Host) string { return harness.Which(h, name) }
}
func ours(h *harness.Host) string { return harness.NodeLocalDNS(h) }

// self is this program's path.
func self(h *harness.Host) string {
	path, err := os.Executable()
	must(h, err)
	return path
}

func coreDNSArgs(h *harness.Host, conf, directive string) []string {
	corefile := strings.ReplaceAll(conf, "PACKETCACHE", directive)
	return []string{"-quiet", "-conf", harness.WriteFile(h, "Corefile", corefile)}
}

// environment is of all programs, so that nothing of the caller's tunes one of them.
func environment() []string { return []string{"PATH=" + os.Getenv("PATH"), "HOME=/"} }

// start runs the server until it answers.
func (s server) start(h *harness.Host, n *network) *process.Process {
	p := process.Start(h, n.node, process.Command{Path: s.path(h), Args: s.args(h), Env: environment()})
	harness.Until(h, 10*time.Second, "answer of "+s.name, func() error {
		if !p.Running() {
			h.Fatal(s.name, " has ended")
		}
		_, err := client.Ask(n.pod, client.Query{Server: serverAddr, Name: "ready." + searchPath[0], Type: dns.TypeA, Timeout: 300 * time.Millisecond})
		return err
	})
	return p
}

// startUpstream runs the server that all others ask.
func startUpstream(h *harness.Host, n *network) {
	process.Start(h, n.outside, process.Command{Path: self(h), Args: []string{"upstream", "-listen", upstreamAddr}, Env: environment()})
}
