// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

// denyMsg returns a denial of CoreDNS's kubernetes plugin (plugin.BackendError).
func denyMsg(r *dns.Msg, zone string, ttl uint32) *dns.Msg {
	m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
	m.Authoritative = true
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.dns." + zone, Mbox: "hostmaster." + zone, Serial: 7, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}}
	return m
}

func TestRead(t *testing.T) {
	const zone = "cluster.local."
	q := question{"web.shop.svc.cluster.local.", dns.TypeA}
	soa := func(m *dns.Msg) *dns.SOA { return m.Ns[0].(*dns.SOA) }
	for name, tt := range map[string]struct {
		change func(m *dns.Msg)
		want   statement
		life   time.Duration
	}{
		"denial":              {func(m *dns.Msg) {}, denied, 5 * time.Second},
		"minimum":             {func(m *dns.Msg) { soa(m).Minttl = 3 }, denied, 3 * time.Second},
		"TTL":                 {func(m *dns.Msg) { soa(m).Hdr.Ttl = 2 }, denied, 2 * time.Second},
		"TTL 1":               {func(m *dns.Msg) { soa(m).Hdr.Ttl = 1 }, denied, 0},
		"OPT":                 {func(m *dns.Msg) { m.SetEdns0(4096, false) }, denied, 5 * time.Second},
		"case of the SOA":     {func(m *dns.Msg) { soa(m).Hdr.Name = "Cluster.Local." }, denied, 5 * time.Second},
		"upper case":          {func(m *dns.Msg) { m.Question[0].Name = "WEB.shop.svc.Cluster.Local." }, silence, 0},
		"data, upper case":    {func(m *dns.Msg) { m.Rcode, m.Question[0].Name = dns.RcodeSuccess, "WEB.shop.svc.Cluster.Local." }, exists, 0},
		"data":                {func(m *dns.Msg) { m.Rcode, m.Ns = dns.RcodeSuccess, nil }, exists, 0},
		"no data":             {func(m *dns.Msg) { m.Rcode = dns.RcodeSuccess }, exists, 0},
		"CNAME":               {func(m *dns.Msg) { m.Answer = []dns.RR{test.CNAME("web.shop.svc.cluster.local. 5 IN CNAME gone.")} }, otherwise, 0},
		"SOA of another zone": {func(m *dns.Msg) { soa(m).Hdr.Name = "shop.svc.cluster.local." }, otherwise, 0},
		"no SOA":              {func(m *dns.Msg) { m.Ns = nil }, otherwise, 0},
		"NS":                  {func(m *dns.Msg) { m.Ns = []dns.RR{test.NS("cluster.local. 5 IN NS ns.")} }, otherwise, 0},
		"two records":         {func(m *dns.Msg) { m.Ns = append(m.Ns, m.Ns[0]) }, otherwise, 0},
		"SERVFAIL":            {func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, silence, 0},
		"REFUSED":             {func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }, silence, 0},
		"truncated":           {func(m *dns.Msg) { m.Truncated = true }, silence, 0},
		"another type":        {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, silence, 0},
		"another name":        {func(m *dns.Msg) { m.Question[0].Name = zone }, silence, 0},
		"no question":         {func(m *dns.Msg) { m.Question = nil }, silence, 0},
	} {
		m := denyMsg(new(dns.Msg).SetQuestion(q.name, q.qtype), zone, 30)
		tt.change(m)
		now := time.Now()
		got, d := read(m, q, zone, now)
		if got != tt.want || (d != nil) != (tt.life > 0) {
			t.Errorf("%s: %s, %v", name, got, d)
		} else if d != nil && d.until.Sub(now) != tt.life {
			t.Errorf("%s: lives %s", name, d.until.Sub(now))
		}
	}
	if got, _ := read(nil, q, zone, time.Now()); got != silence {
		t.Error(got)
	}
}

// TestReply: a local answer has the form of an answer of the cluster DNS, and its TTL decreases.
func TestReply(t *testing.T) {
	r := new(dns.Msg).SetQuestion("API.example.com.shop.svc.cluster.local.", dns.TypeAAAA)
	now := time.Now()
	_, d := read(denyMsg(new(dns.Msg).SetQuestion("com.shop.svc.cluster.local.", dns.TypeA), "cluster.local.", 5),
		question{"com.shop.svc.cluster.local.", dns.TypeA}, "cluster.local.", now)
	for after, want := range map[time.Duration]uint32{0: 5, time.Millisecond: 4, 4 * time.Second: 1, 4*time.Second + 1: 0, time.Minute: 0} {
		if got := d.remaining(now.Add(after)); got != want {
			t.Errorf("after %s: %d s", after, got)
		}
	}
	got, want := d.reply(r, 4), denyMsg(r, "cluster.local.", 5)
	want.Ns[0].Header().Ttl = 4
	if got.String() != want.String() {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
