// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

func TestServeDNS(t *testing.T) {
	next := plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		return dns.RcodeRefused, nil
	})
	h := &Nodelocal{Next: next, node: &node{token: "me"}}
	for _, tc := range []struct {
		name  string
		qtype uint16
		own   bool
	}{
		{"abc.selfquery.nodelocaldns.cluster.local.", dns.TypeTXT, true},
		{"abc.selfquery.nodelocaldns.", dns.TypeTXT, true},
		{"abc.selfquery.nodelocaldns.", dns.TypeA, false},
		{"selfquery.nodelocaldns.", dns.TypeTXT, false},
		{"x.abc.selfquery.nodelocaldns.", dns.TypeTXT, false},
		{"www.example.", dns.TypeTXT, false},
		{".", dns.TypeTXT, false},
	} {
		w := dnstest.NewRecorder(&test.ResponseWriter{})
		rcode, err := h.ServeDNS(t.Context(), w, new(dns.Msg).SetQuestion(tc.name, tc.qtype))
		own := w.Msg != nil && len(w.Msg.Answer) == 1 && strings.HasSuffix(w.Msg.Answer[0].String(), `"me"`)
		if own != tc.own || err != nil || !own && rcode != dns.RcodeRefused {
			t.Errorf("%s %s: own %v, rcode %d, %v", tc.name, dns.TypeToString[tc.qtype], own, rcode, err)
		}
	}
}

// TestBusiest counts what a client asks for, by whatever name, and not what the process asks itself.
func TestBusiest(t *testing.T) {
	nxdomain := plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		_, again := busiest.Process.Handle(ctx, w, r) // as another plugin
		if again != w {
			t.Error("counted twice")
		}
		return dns.RcodeSuccess, w.WriteMsg(new(dns.Msg).SetRcode(r, dns.RcodeNameError))
	})
	h := &Nodelocal{Next: nxdomain, node: &node{token: "me"}}
	n := rand.Uint32() // each run of the test has its own client: the counts are the process's
	client := netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
	local := &net.UDPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 53}
	for _, q := range []struct {
		from string
		name string
		kind uint16
	}{
		{"198.51.100.7", "a.selfquery.nodelocaldns.", dns.TypeTXT},
		{client.String(), "a.selfquery.nodelocaldns.", dns.TypeTXT},
		{client.String(), "www.example.", dns.TypeA},
		{client.String(), "www.example.", dns.TypeA},
	} {
		w := &capture.Writer{Local: local, Remote: &net.UDPAddr{IP: net.ParseIP(q.from), Port: 1234}}
		if _, err := h.ServeDNS(t.Context(), w, new(dns.Msg).SetQuestion(q.name, q.kind)); err != nil || w.Msg == nil {
			t.Errorf("%+v: %v, %v", q, w.Msg, err)
		}
	}
	want := status.Client{Address: client, Queries: 3, Misses: 3, NXDomain: 2, Name: "www.example."}
	var got status.Client
	for _, c := range busiest.Process.Report(time.Now()).Clients {
		switch c.Address {
		case want.Address:
			got = c
		case netip.MustParseAddr("198.51.100.7"):
			t.Errorf("the process itself: %+v", c)
		}
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// selfServer answers self-queries as the process with that token.
func selfServer(t *testing.T, token string) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if isSelfQuery(r) && strings.HasSuffix(r.Question[0].Name, ".zone.example.") {
			_ = w.WriteMsg(selfAnswer(r, token)) // a lost answer fails the test
		}
	})}
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestAsk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mark its queries")
	}
	server := selfServer(t, "me")
	pc, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	silent := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, tc := range []struct {
		name        string
		server      netip.AddrPort
		zone, token string
		want        verdict
	}{
		{"itself", server, "zone.example.", "me", answered},
		{"a peer", server, "zone.example.", "you", foreign},
		{"nobody listens", netip.AddrPortFrom(server.Addr(), 1), "zone.example.", "me", failed},
		{"nobody answers", silent, "zone.example.", "me", failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ask([]netip.Addr{tc.server.Addr()}, tc.server.Port(), tc.zone, tc.token)[0]; got != tc.want {
				t.Errorf("got %s, want %s", verdictNames[got], verdictNames[tc.want])
			}
		})
	}
}

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		in   []verdict
		want verdict
	}{
		{[]verdict{answered}, answered},
		{[]verdict{foreign, answered, foreign}, answered},
		{[]verdict{foreign, foreign}, foreign},
		{[]verdict{answered, failed, answered}, failed},
		{[]verdict{unasked, answered, unasked}, answered},
		{[]verdict{unasked, foreign}, foreign},
		{[]verdict{unasked, failed}, failed},
		{[]verdict{unasked, unasked}, unasked},
	} {
		if got := summary(tc.in); got != tc.want {
			t.Errorf("%v: got %v, want %v", tc.in, got, tc.want)
		}
	}
}

// ownMetrics gathers the metrics of this plugin.
func ownMetrics(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	SetBuildInfo("1", "abc")
	believe(t, hostnet.Config{Addresses: addrs("169.254.20.10")}, "169.254.20.10")
	selfQueries.WithLabelValues("169.254.20.10", "answered").Inc()
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "coredns_nodelocal_") || strings.HasPrefix(m.GetName(), "coredns_nodecache_") {
			own = append(own, m)
		}
	}
	return own
}

func TestMetricsAreNamedWellAndDocumented(t *testing.T) {
	own := ownMetrics(t)
	if len(own) != 16 {
		t.Errorf("%d metrics", len(own))
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range own {
		if !strings.Contains(string(readme), "`"+m.GetName()) {
			t.Errorf("README.md says nothing of %s", m.GetName())
		}
	}
}
