// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"

	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/nsid"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// setDirectives orders the plugins as plugin.cfg does.
func setDirectives() {
	dnsserver.Directives = []string{"packetcache", "nsid", "bind", "prometheus", "loadbalance", "rewrite", "acl", "cache", "template", "forward"}
	dnsserver.Quiet, caddy.Quiet = true, true
}

// corefile has blocks that are cached in each way. ADDRESS is where to listen.
func corefile(upstream string, packetCache bool) string {
	directive := ""
	if packetCache {
		directive = "packetcache"
	}
	var b strings.Builder
	for zone, more := range map[string]string{
		".":         "",
		"rw.test":   "rewrite name regex (.*)\\.rw\\.test\\.$ {1}.test. answer auto",
		"lb.test":   "loadbalance",
		"own.test":  "",
		"acl.test":  "acl {\n block type PTR net *\n }",
		"tmpl.test": "template IN A {\n answer \"{{ .Name }} 50 IN A 192.0.2.9\"\n }",
	} {
		if zone != "own.test" { // without cache, an answer has the upstream's OPT record on its way through the plugins
			more += "\n cache 3600"
		}
		fmt.Fprintf(&b, "%s:PORT {\n bind 127.0.0.1\n nsid a node\n %s\n prometheus 127.0.0.1:0\n %s\n forward . %s {\n force_tcp\n }\n}\n", zone, directive, more, upstream)
	}
	return b.String()
}

// controller returns one for the tokens of a directive.
func controller(tokens []caddyfile.Token) *caddy.Controller {
	c := caddy.NewTestController("dns", "")
	c.Dispenser = caddyfile.NewDispenserTokens("Corefile", tokens)
	return c
}

// serve starts a server in this process and returns its address.
func serve(t *testing.T, text string) string {
	t.Helper()
	addr, _ := reloadable(t, text)
	return addr
}

// reloadable is serve, with a function that gives the server another Corefile.
func reloadable(t *testing.T, text string) (addr string, reload func(text string) error) {
	t.Helper()
	addr = wiretest.FreePort(t)
	_, port, _ := net.SplitHostPort(addr)
	input := func(text string) caddy.Input {
		return caddy.CaddyfileInput{Contents: []byte(strings.ReplaceAll(text, "PORT", port)), Filepath: "Corefile", ServerTypeName: "dns"}
	}
	inst, err := caddy.Start(input(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inst.ShutdownCallbacks()
		_ = inst.Stop()
	})
	return addr, func(text string) error {
		next, err := inst.Restart(input(text))
		if err == nil {
			inst = next
		}
		return err
	}
}

// gathered calls f for each metric of the server at addr.
func gathered(t *testing.T, addr string, f func(name, labels string, m *dto.Metric)) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			own, labels := false, ""
			for _, l := range m.GetLabel() {
				if l.GetName() == "server" {
					own = l.GetValue() == "dns://"+addr
				} else {
					labels += fmt.Sprintf(" %s=%q", l.GetName(), l.GetValue())
				}
			}
			if own {
				f(family.GetName(), labels, m)
			}
		}
	}
}

// counted returns the value of a counter of the server at addr.
func counted(t *testing.T, name, addr string) (sum float64) {
	t.Helper()
	gathered(t, addr, func(n, _ string, m *dto.Metric) {
		if n == name {
			sum += m.GetCounter().GetValue()
		}
	})
	return sum
}

// series returns what the plugins prometheus and cache count of queries, but for how long they took.
func series(t *testing.T, addr string) (lines []string) {
	t.Helper()
	gathered(t, addr, func(name, labels string, m *dto.Metric) {
		switch name {
		case "coredns_dns_requests_total", "coredns_dns_responses_total", "coredns_dns_do_requests_total",
			"coredns_cache_requests_total", "coredns_cache_hits_total":
			lines = append(lines, fmt.Sprintf("%s%s %g", name, labels, m.GetCounter().GetValue()))
		case "coredns_dns_request_duration_seconds":
			lines = append(lines, fmt.Sprintf("%s%s %d", name, labels, m.GetHistogram().GetSampleCount()))
		case "coredns_dns_request_size_bytes", "coredns_dns_response_size_bytes":
			h := m.GetHistogram()
			lines = append(lines, fmt.Sprintf("%s%s %d %g", name, labels, h.GetSampleCount(), h.GetSampleSum()))
		}
	})
	slices.Sort(lines)
	return lines
}
