// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"go/build"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
)

// facts are the lines of other modules that stock.go cites, by fact.
var facts = []struct {
	fact         int
	module, file string
	line         int
	text         string
}{
	{1, "coredns", "core/dnsserver/server.go", 246, "dw = s.udpDecorateWriterFunc(s)"},
	{1, "coredns", "core/dnsserver/server.go", 199, "s.udpDecorateWriterFunc = site.UDPDecorateWriterFunc"},
	{2, "coredns", "core/dnsserver/register.go", 131, "s.Keys[ik] = za.String()"},
	{2, "coredns", "core/dnsserver/address.go", 18, `s := z.Transport + "://" + z.Zone + ":" + z.Port`},
	{3, "coredns", "core/dnsserver/server.go", 250, "ctx := context.WithValue(context.Background(), Key{}, s)"},
	{3, "coredns", "core/dnsserver/server.go", 251, "ctx = context.WithValue(ctx, LoopKey{}, 0)"},
	{4, "caddy", "caddy.go", 248, "err = startWithListenerFds(newCaddyfile, newInst, restartFds)"},
	{4, "caddy", "caddy.go", 254, "err = i.Stop()"},
	{4, "caddy", "caddy.go", 258, "for _, shutdownFunc := range i.OnShutdown {"},
	{4, "caddy", "caddy.go", 816, "errChan <- s.ServePacket(pc)"},
	{5, "coredns", "core/dnsserver/server.go", 122, "graceTimeout: 5 * time.Second,"},
	{6, "dns", "server.go", 546, "if len(m) < headerSize {"},
	{6, "dns", "server.go", 639, "switch action := srv.MsgAcceptFunc(dh); action {"},
	{6, "dns", "server.go", 641, "err := req.unpack(dh, m, off)"},
	{6, "dns", "server.go", 650, "req.SetRcodeFormatError(req)"},
	{6, "coredns", "core/dnsserver/server.go", 466, "return nil"},
	{7, "coredns", "plugin/metrics/vars/report.go", 48, "qType := qTypeString(req.QType())"},
	{7, "coredns", "plugin/metrics/vars/report.go", 49, "RequestCount.WithLabelValues(server, zone, view, net, fam, qType).Inc()"},
	{8, "coredns", "plugin/metrics/vars/monitor.go", 7, "var monitorType = map[uint16]struct{}{"},
	{9, "coredns", "plugin/cache/handler.go", 252, "cacheRequests.WithLabelValues(server, c.zonesMetricLabel, c.viewMetricLabel).Inc()"},
	{9, "coredns", "plugin/cache/handler.go", 281, "cacheHits.WithLabelValues(server, Denial, c.zonesMetricLabel, c.viewMetricLabel).Inc()"},
	{9, "coredns", "plugin/cache/handler.go", 288, "cacheHits.WithLabelValues(server, Success, c.zonesMetricLabel, c.viewMetricLabel).Inc()"},
	{9, "coredns", "plugin/cache/setup.go", 70, "origins := plugin.OriginsFromArgsOrServerBlock(args, c.ServerBlockKeys)"},
	{9, "coredns", "plugin/cache/setup.go", 323, `ca.zonesMetricLabel = strings.Join(origins, ",")`},
}

var modules = map[string]string{
	"coredns": "github.com/coredns/coredns", "caddy": "github.com/coredns/caddy", "dns": "github.com/miekg/dns",
}

// TestStockFacts looks for the lines that stock.go cites. A fact that moved has to be read again, and stock.go with it.
func TestStockFacts(t *testing.T) {
	stock, err := os.ReadFile("stock.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for _, f := range facts {
		path := f.module + "/" + f.file
		if lines[path] == nil {
			p, err := build.Import(modules[f.module], ".", build.FindOnly)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(p.Dir, f.file))
			if err != nil {
				t.Fatal(err)
			}
			lines[path] = strings.Split(string(text), "\n")
		}
		if got := strings.Join(strings.Fields(lines[path][f.line-1]), " "); got != f.text {
			t.Errorf("fact %d: %s:%d is %q, and was %q", f.fact, path, f.line, got, f.text)
		}
		cited := regexp.MustCompile(`//  ` + strconv.Itoa(f.fact) + `\. (?:[^\n]|\n//     )*\b` + strconv.Itoa(f.line) + `\b`)
		if !cited.Match(stock) {
			t.Errorf("fact %d of stock.go does not cite line %d", f.fact, f.line)
		}
	}
}

// TestTypeLabels compares with the labels that CoreDNS gives to each type (fact 8), through its own counters (fact 7).
func TestTypeLabels(t *testing.T) {
	w := &miss{Writer: capture.Writer{Local: &net.UDPAddr{}, Remote: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}}
	for qtype := range uint16(300) {
		if qtype >= 128 && qtype < 256 || qtype == 0 || qtype == dns.TypeOPT {
			continue // no key has such a type
		}
		server := "dns://types:" + strconv.Itoa(int(qtype))
		r := new(dns.Msg).SetQuestion("example.org.", qtype)
		vars.Report(server, request.Request{W: w, Req: r}, ".", "", "NOERROR", "", 0, time.Now())
		if n := testutil.ToFloat64(vars.RequestCount.WithLabelValues(server, ".", "", "udp", "1", typeLabel(qtype))); n != 1 {
			t.Errorf("%s has another label than %s", dns.Type(qtype), typeLabel(qtype))
		}
	}
}

// TestStockAddress has the servers of a configuration listen where expect says (fact 2).
func TestStockAddress(t *testing.T) {
	for text, want := range map[string]string{"dns://127.0.0.1:53": "127.0.0.1:53", "dns://[fd00::10]:5353": "[fd00::10]:5353"} {
		if addr, err := addrOf(&dnsserver.Server{Addr: text}); err != nil || addr.String() != want {
			t.Errorf("%s: %s, %v", text, addr, err)
		}
	}
	site := &dnsserver.Config{ListenHosts: []string{"127.0.0.1", "fd00::10"}}
	got := addrsOf(site, []string{"dns://a.test.:53", "dns://b.test.:54"})
	if len(got) != 4 || got[0].String() != "127.0.0.1:53" || got[3].String() != "[fd00::10]:54" {
		t.Errorf("%v", got)
	}
}

// TestZonesOfCache reads the first line of the directive cache as that plugin does (fact 9).
func TestZonesOfCache(t *testing.T) {
	keys := []string{"dns://example.org.:53"}
	for line, want := range map[string]string{
		"":                                     "",
		"cache":                                "example.org.",
		"cache 30":                             "example.org.",
		"cache 30 a.test b.test":               "a.test.,b.test.",
		"cache a.test":                         "a.test.",
		"cache {\n success 10\n}":              "example.org.",
		"cache 30 . {\n denial 10 5 c.test\n}": ".",
	} {
		var tokens []caddyfile.Token
		d := caddyfile.NewDispenser("Corefile", strings.NewReader(line))
		for d.Next() {
			tokens = append(tokens, caddyfile.Token{File: d.File(), Line: d.Line(), Text: d.Val()})
		}
		if got := strings.Join(zonesOfCache(tokens, keys), ","); got != want {
			t.Errorf("%q: zones %q, want %q", line, got, want)
		}
	}
}
