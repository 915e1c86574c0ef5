// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestClusterDNS(t *testing.T) {
	l := New(t, NFTables)
	ptr6, err := dns.ReverseAddr("fd00:96::77")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		qtype   uint16
		rcode   int
		answers int
	}{
		{"web.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"web.default.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, dns.RcodeSuccess, 1},
		{"dns-version.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, 1},
		{"alias1.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 4},
		{"anything.wild.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"big.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, upstream.BigRecords},
		{"any.slow.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"absent.cluster.local.", dns.TypeA, dns.RcodeNameError, 0},
		{"7.7.96.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, 1},
		{ptr6, dns.TypePTR, dns.RcodeSuccess, 1},
		{"www.example.org.", dns.TypeA, dns.RcodeSuccess, 1},
		{"absent.test.", dns.TypeA, dns.RcodeNameError, 0},
	} {
		m, err := client.Ask(l.Pod, client.Query{Server: client.Port53(ClusterIP6), TCP: true, Name: tc.name, Type: tc.qtype})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if m.Rcode != tc.rcode || len(m.Answer) != tc.answers {
			t.Errorf("%s %s: %s", dns.TypeToString[tc.qtype], tc.name, m)
		}
		harness.Until(t, 10*time.Second, "log of "+tc.name, func() error {
			want := upstream.Seen{Name: tc.name, Type: dns.TypeToString[tc.qtype], Proto: "tcp", Source: PodIP6}
			if !slices.Contains(l.ClusterDNS.Seen(tc.name), want) {
				return fmt.Errorf("not %v", want)
			}
			return nil
		})
	}
	if len(l.Node.Conntrack(t, ClusterIP6)) == 0 {
		t.Error("no connection to the ClusterIP is tracked")
	}
	l.Node.ForgetConntrack(t)
	if c := l.Node.Conntrack(t, ClusterIP6, ClusterIP); len(c) > 0 {
		t.Errorf("still tracked: %s", c)
	}
}
