// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/cache" // its counters are registered before those of this file
	"github.com/coredns/coredns/plugin/metrics/vars"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// This file has everything that the packet cache takes for granted of CoreDNS v1.15.0, caddy v1.1.4 and miekg/dns v1.1.73 and
// that no compiler checks. TestStockFacts looks for each fact in the sources of the modules in go.mod, and fails when one moves.
//
//  1. ServePacket calls Config.UDPDecorateWriterFunc once, just before it reads the socket (core/dnsserver/server.go:246). If
//     several server blocks share a listener, the last function wins (server.go:199).
//  2. Server.Addr is dns://HOST:PORT, and a server block's keys are dns://ZONE:PORT when its plugins are set up
//     (core/dnsserver/register.go:131, address.go:18).
//  3. The context of a query has Key and LoopKey (core/dnsserver/server.go:250, 251).
//  4. A reload starts the next servers (caddy.go:248), stops the last ones (caddy.go:254), and then calls their OnShutdown
//     (caddy.go:258). caddy does not wait for the goroutine of ServePacket (caddy.go:816).
//  5. Server.Stop waits for 5 s at most (core/dnsserver/server.go:122).
//  6. Between a socket and its handler, dns.Server ignores, rejects or unpacks a packet (miekg/dns server.go:546, 639, 641, 650).
//     CoreDNS has it use DefaultMsgAcceptFunc (core/dnsserver/server.go:466), and a TsigProvider without secrets.
//  7. The prometheus plugin counts a query by these metrics and labels (plugin/metrics/vars/report.go:48, 49).
//  8. These types have a label of their own (plugin/metrics/vars/monitor.go:7).
//  9. The plugin cache counts a request, and a hit, with these labels (plugin/cache/handler.go:252, 281, 288). Its zones are in the
//     first line of the directive, behind an optional number (plugin/cache/setup.go:70, 323).

// closePatience is how long the end of a configuration waits for the queries that are with the plugins (fact 5).
const closePatience = 5 * time.Second

// addrOf returns the address that s listens at (fact 2).
func addrOf(s *dnsserver.Server) (netip.AddrPort, error) {
	return netip.ParseAddrPort(strings.TrimPrefix(s.Addr, "dns://"))
}

// addrsOf returns the addresses that the servers of a server block will listen at (fact 2).
func addrsOf(site *dnsserver.Config, keys []string) (addrs []netip.AddrPort) {
	for _, host := range site.ListenHosts {
		for _, key := range keys {
			port := key[strings.LastIndexByte(key, ':')+1:]
			if addr, err := netip.ParseAddrPort(net.JoinHostPort(host, port)); err == nil {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// contextOf returns the context of the queries that come to s (fact 3).
func contextOf(s *dnsserver.Server) context.Context {
	return context.WithValue(context.WithValue(context.Background(), dnsserver.Key{}, s), dnsserver.LoopKey{}, 0)
}

// fromStock reports whether a query comes from the socket of a stock server (fact 3).
func fromStock(ctx context.Context) bool {
	_, ok := ctx.Value(dnsserver.Key{}).(*dnsserver.Server)
	return ok
}

// screen returns what the stock server does with a packet by its header (fact 6).
func screen(packet []byte) dns.MsgAcceptAction {
	var h dns.Header
	if _, err := binary.Decode(packet, binary.BigEndian, &h); err != nil { // serveUDP: len(m) < headerSize
		return dns.MsgIgnore
	}
	return dns.DefaultMsgAcceptFunc(h)
}

// malformed makes r, what could be read of a query, the answer to it (serveDNS: MsgAccept with an error of unpack).
func malformed(r *dns.Msg) *dns.Msg {
	r.SetRcodeFormatError(r)
	r.Zero = false
	r.Answer, r.Ns, r.Extra = nil, nil, nil
	return r
}

// noSecrets is the dns.TsigProvider of a server that has no secrets. With some, the packet cache is not used.
type noSecrets struct{}

// Generate implements dns.TsigProvider.
func (noSecrets) Generate([]byte, *dns.TSIG) ([]byte, error) { return nil, dns.ErrSecret }

// Verify implements dns.TsigProvider.
func (noSecrets) Verify([]byte, *dns.TSIG) error { return dns.ErrSecret }

// counters are the label values of one entry's queries, in the metrics of the plugins prometheus (fact 7) and cache (fact 9).
type counters struct {
	requests, responses, do             prometheus.Counter // do is nil without the bit
	cacheRequests, cacheHits            prometheus.Counter // of the plugin cache; nil where it would not be asked
	duration, requestSize, responseSize prometheus.Observer
}

// uncounted is for entries of a server block without prometheus.
var uncounted = new(counters)

// countersOf returns the counters for hits on e, an entry with the value o.
func (o *origin) countersOf(e *store.Entry) *counters {
	c := o.counters.Load()
	if c == nil {
		c = newCounters(e, o, o.server)
		o.counters.Store(c)
	}
	return c
}

// newCounters returns the counters for hits on e, an entry of s.
func newCounters(e *store.Entry, o *origin, s *server) *counters {
	p := o.block.prometheus
	var m dns.Msg
	if p == nil || m.Unpack(e.Wire) != nil {
		return uncounted
	}
	server, name, qtype := s.dns.Addr, strings.ToLower(m.Question[0].Name), typeLabel(m.Question[0].Qtype)
	zone := cmp.Or(plugin.Zones(p.ZoneNames()).Matches(name), ".")
	first := "" // the plugin behind prometheus
	if p.Next != nil {
		first = p.Next.Name()
	}
	family := "1"
	if s.lease.Addr().IP.To4() == nil {
		family = "2"
	}
	c := &counters{
		requests:     vars.RequestCount.WithLabelValues(server, zone, "", "udp", family, qtype),
		responses:    vars.ResponseRcode.WithLabelValues(server, zone, "", dns.RcodeToString[m.Rcode], first),
		duration:     vars.RequestDuration.WithLabelValues(server, zone, ""),
		requestSize:  vars.RequestSize.WithLabelValues(server, zone, "", "udp"),
		responseSize: vars.ResponseSize.WithLabelValues(server, zone, "", "udp"),
	}
	if zones := o.block.cached; plugin.Zones(zones).Matches(name) != "" {
		kind := "denial"
		if m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0 {
			kind = "success"
		}
		c.cacheRequests = cacheRequests.WithLabelValues(server, strings.Join(zones, ","), "")
		c.cacheHits = cacheHits.WithLabelValues(server, kind, strings.Join(zones, ","), "")
	}
	if wire.DO(e.Key) {
		c.do = vars.RequestDo.WithLabelValues(server, zone, "")
	}
	return c
}

// hit counts hits on an entry with the value o, each of which took the given time.
func (c *counters) hit(o *origin, took time.Duration, times uint64) {
	if c == uncounted {
		return
	}
	n := float64(times)
	c.requests.Add(n)
	c.responses.Add(n)
	if c.do != nil {
		c.do.Add(n)
	}
	if c.cacheHits != nil {
		c.cacheRequests.Add(n)
		c.cacheHits.Add(n)
	}
	for range times {
		c.duration.Observe(took.Seconds())
		c.requestSize.Observe(float64(o.query))
		c.responseSize.Observe(float64(o.size))
	}
}

// The counters of the plugin cache, which does not export them (fact 9). Dashboards compute the hit ratio from them.
var (
	cacheRequests = existing("requests_total", "The count of cache requests.", "server", "zones", "view")
	cacheHits     = existing("hits_total", "The count of cache hits.", "server", "type", "zones", "view")
)

// existing returns a counter of the plugin cache. The plugin cache, which this package imports, has registered it.
func existing(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: plugin.Namespace, Subsystem: "cache", Name: name, Help: help}, labels)
	var there prometheus.AlreadyRegisteredError
	if errors.As(prometheus.Register(c), &there) {
		if c, ok := there.ExistingCollector.(*prometheus.CounterVec); ok {
			return c
		}
	}
	return c // another help text: nothing is counted twice, and nobody sees c
}

// zonesOfCache returns the zones for which the plugin cache of a server block with these keys is asked, by the tokens of its
// directive; nil without the directive (fact 9).
func zonesOfCache(tokens []caddyfile.Token, keys []string) []string {
	d := caddyfile.NewDispenserTokens("", tokens)
	if !d.Next() {
		return nil
	}
	args := d.RemainingArgs()
	if len(args) > 0 {
		if _, err := strconv.Atoi(args[0]); err == nil {
			args = args[1:]
		}
	}
	return plugin.OriginsFromArgsOrServerBlock(args, keys)
}

// labelled are the types of data that have a label of their own in CoreDNS's metrics (fact 8).
var labelled = map[uint16]bool{
	dns.TypeAAAA: true, dns.TypeA: true, dns.TypeCNAME: true, dns.TypeDNSKEY: true, dns.TypeDS: true, dns.TypeMX: true,
	dns.TypeNSEC3: true, dns.TypeNSEC: true, dns.TypeNS: true, dns.TypePTR: true, dns.TypeRRSIG: true, dns.TypeSOA: true,
	dns.TypeSRV: true, dns.TypeTXT: true, dns.TypeHTTPS: true, dns.TypeSVCB: true,
}

func typeLabel(t uint16) string {
	if labelled[t] {
		return dns.Type(t).String()
	}
	return "other"
}
