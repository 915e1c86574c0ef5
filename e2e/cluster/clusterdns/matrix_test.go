// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/kubeapi"
	"github.com/prometheus/client_golang/prometheus"
)

// shop is a cluster with a Service of each kind.
func shop(a *kubeapi.API) {
	a.Namespace("default")
	a.Namespace("shop")
	a.Namespace("prod")
	a.Service("default", "kubernetes", "10.96.0.1")
	a.Service("shop", "web", "10.96.0.7")
	a.Endpoints("shop", "web", "", pod("10.244.0.7", "", true))
	a.Service("shop", "hdls", "")
	a.Endpoints("shop", "hdls", "", pod("172.0.0.2", "", true), pod("172.0.0.3", "hdls-0", true))
	a.Service("shop", "starting", "")
	a.Endpoints("shop", "starting", "", pod("172.0.0.4", "starting-0", false))
	a.External("shop", "ext", "example.com")
	a.External("shop", "dangling", "gone.shop.svc.cluster.local")
	a.Service("prod", "redis", "10.96.0.8")
	a.Set("pods", "shop", "web-1", kubeapi.Object{"status": kubeapi.Object{"podIP": "10.244.0.7", "podIPs": []kubeapi.Object{{"ip": "10.244.0.7"}}, "phase": "Running"}})
	a.Set("serviceimports", "shop", "imported", kubeapi.Object{"spec": kubeapi.Object{"type": "Headless", "ports": kubeapi.Port}})
	a.Endpoints("shop", "imported", "cluster1", pod("172.1.0.2", "", true))
}

func pod(ip, hostname string, ready bool) kubeapi.Pod {
	return kubeapi.Pod{IP: ip, Hostname: hostname, Ready: ready}
}

// names are in front of the zone: the exceptions, what search lists make of names outside, and what there is.
var names = strings.Fields(`svc pod dns ns.dns kubernetes.default.svc default.svc shop.svc gone.svc web.gone.svc api.example.com.gone.svc
	web.shop.svc api.web.shop.svc 10-244-0-7.web.shop.svc _tcp.web.shop.svc _http._tcp.web.shop.svc x._tcp.web.shop.svc
	hdls.shop.svc 172-0-0-2.hdls.shop.svc hdls-0.hdls.shop.svc hdls-9.hdls.shop.svc _tcp.hdls.shop.svc _http._tcp.hdls.shop.svc _zone.hdls.shop.svc
	pin._zone.hdls.shop.svc zone-a.pin._zone.hdls.shop.svc zone-b.pin._zone.hdls.shop.svc zone-a.prefer._zone.hdls.shop.svc a.b.hdls.shop.svc
	starting.shop.svc starting-0.starting.shop.svc starting-1.starting.shop.svc zone-a.pin._zone.starting.shop.svc _http._tcp.starting.shop.svc
	ext.shop.svc a.ext.shop.svc dangling.shop.svc a.dangling.shop.svc gone.shop.svc a.gone.shop.svc b.gone.shop.svc
	redis.prod.svc redis.prod.shop.svc mysql.prod.shop.svc prod.shop.svc a.b.c.d.shop.svc dns-version a.dns-version
	shop.pod gone.pod 10-244-0-7.shop.pod 10-244-0-8.shop.pod a.10-244-0-7.shop.pod
	com org com.shop.svc com.svc example.com example.com.svc example.com.shop.svc api.example.com api.example.com.svc api.example.com.shop.svc
	www.example.com.shop.svc www.example.com.svc www.example.com a.b.example.org a.b.example.org.svc a.b.example.org.shop.svc
	imported.shop.svc cluster1.imported.shop.svc 172-1-0-2.cluster1.imported.shop.svc cluster2.imported.shop.svc 172-1-0-9.cluster2.imported.shop.svc`)

// queries returns all questions of the matrix.
func queries() []*dns.Msg {
	var all []*dns.Msg
	for _, z := range []string{"cluster.local.", "clusterset.local."} {
		for _, n := range names {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSRV, dns.TypeHTTPS} {
				q := func(change func(r *dns.Msg)) {
					r := new(dns.Msg).SetQuestion(n+"."+z, qtype)
					r.Id = 7
					change(r)
					all = append(all, r)
				}
				q(func(*dns.Msg) {})
				q(func(r *dns.Msg) { r.SetEdns0(1232, false); r.AuthenticatedData = true })
				q(func(r *dns.Msg) { r.SetEdns0(1232, true) })
				q(func(r *dns.Msg) { r.CheckingDisabled = true })
				q(func(r *dns.Msg) { r.RecursionDesired = false })
				q(func(r *dns.Msg) { r.Question[0].Name = strings.ToUpper(r.Question[0].Name) })
			}
		}
	}
	return all
}

// compare asks all of them in some order, by the plugin and without it.
func compare(t *testing.T, c *cluster, h plugin.Handler, all []*dns.Msg, random *rand.Rand) {
	t.Helper()
	different := 0
	for i, n := range random.Perm(len(all)) {
		got, want := text(send(h, all[n])), text(c.answer(context.Background(), all[n]))
		if got != want {
			if different++; different < 10 {
				t.Errorf("with the plugin:\n%s\nwithout:\n%s", got, want)
			}
		}
		if i%100 == 0 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if different > 0 {
		t.Errorf("%d answers of %d differ", different, len(all))
	}
}

// metric returns the sum of a metric of the plugin over the labels that are not given.
func metric(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "coredns_searchpath_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			text := fmt.Sprint(m.GetLabel())
			matches := true
			for _, l := range labels {
				matches = matches && strings.Contains(text, fmt.Sprintf("%q", l))
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestSameAnswers: with the plugin each question has the answer that it has without it, and many come from the plugin.
func TestSameAnswers(t *testing.T) {
	for name, options := range map[string]string{
		"kubeadm":      "pods insecure\n fallthrough in-addr.arpa\n ttl 30",
		"default":      "",
		"everything":   "pods verified\n zonal\n endpoint_pod_names\n multicluster clusterset.local",
		"multicluster": "multicluster clusterset.local\n ignore empty_service\n namespaces default shop",
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, "", options, shop)
			bubble(t, c, func(t *testing.T, h plugin.Handler, _ func(func())) {
				all, random := queries(), rand.New(rand.NewPCG(1, 2))
				before := metric(t, "answers_total")
				disagreed := metric(t, "audits_total", "disagreed")
				for range 3 {
					compare(t, c, h, all, random)
					time.Sleep(3 * time.Second)
				}
				local := metric(t, "answers_total") - before
				if local < 500 || metric(t, "audits_total", "disagreed") > disagreed {
					t.Errorf("%v local answers, %v disagreements", local, metric(t, "audits_total", "disagreed")-disagreed)
				}
				t.Logf("%v of %d answers were local", local, 3*len(all))
			})
		})
	}
}

// TestChanges: Services, endpoints and namespaces come and go. What the plugin says is never older than 5 s.
func TestChanges(t *testing.T) {
	c := startCluster(t, "", "pods insecure\n ttl 30", shop)
	steps := []struct {
		do   func()
		name string // a name that shows when it is done, and its RCODE then
		code int
	}{
		{func() { c.Endpoints("shop", "starting", "", pod("172.0.0.4", "starting-0", true)) }, "starting-0.starting.shop.svc", dns.RcodeSuccess},
		{func() { c.Endpoints("shop", "starting", "", pod("172.0.0.4", "starting-0", false)) }, "starting-0.starting.shop.svc", dns.RcodeNameError},
		{func() { c.Service("shop", "gone", "10.96.0.9") }, "gone.shop.svc", dns.RcodeSuccess},
		{func() { c.Remove("services", "shop", "gone") }, "gone.shop.svc", dns.RcodeNameError},
		{func() {
			c.Service("shop", "com", "")
			c.Endpoints("shop", "com", "", pod("172.0.0.9", "example", true))
		}, "example.com.shop.svc", dns.RcodeSuccess},
		{func() { c.Remove("services", "shop", "com") }, "example.com.shop.svc", dns.RcodeNameError},
		{func() { c.Namespace("com"); c.Service("com", "example", "10.96.0.10") }, "example.com.svc", dns.RcodeSuccess},
		{func() { c.Remove("services", "com", "example") }, "example.com.svc", dns.RcodeNameError},
		{func() { c.Remove("namespaces", "", "com") }, "com.svc", dns.RcodeNameError},
		{func() { c.Remove("services", "shop", "hdls") }, "hdls-0.hdls.shop.svc", dns.RcodeNameError},
		{func() { c.Service("shop", "hdls", "") }, "hdls-0.hdls.shop.svc", dns.RcodeSuccess},
		{func() { c.Remove("namespaces", "", "shop") }, "web.shop.svc", dns.RcodeNameError},
		{func() { c.Namespace("shop") }, "web.shop.svc", dns.RcodeSuccess},
	}
	bubble(t, c, func(t *testing.T, h plugin.Handler, outside func(func())) {
		all, random := queries(), rand.New(rand.NewPCG(3, 4))
		compare(t, c, h, all, random)
		for i, s := range steps {
			outside(func() {
				s.do()
				c.within(t, s.name, s.code)
			})
			changed := time.Now()
			took := time.Duration(-1)
			for took < 0 {
				if send(h, ask(s.name, dns.TypeA)).Rcode == s.code {
					took = time.Since(changed)
				}
				time.Sleep(50 * time.Millisecond)
			}
			if took > 5*time.Second {
				t.Errorf("step %d: found after %s", i, took)
			}
			time.Sleep(5 * time.Second)
			compare(t, c, h, all, random)
		}
		if got := metric(t, "zone_active", zone); got != 1 {
			t.Errorf("zone given up")
		}
	})
}

// TestOtherPlugins: names below a denied one are found when the sample first has one, and no cut is wrong after that.
func TestOtherPlugins(t *testing.T) {
	for name, tt := range map[string]struct{ extra, cut, exists string }{
		"hosts":    {"hosts {\n 192.0.2.1 db.corp.cluster.local\n fallthrough\n }", "corp", "db.corp"},
		"template": {"template IN A cluster.local {\n match ^[0-9-]+[.]nip[.]shop[.]svc[.]\n answer \"{{ .Name }} 5 IN A 192.0.2.1\"\n fallthrough\n }", "nip.shop.svc", "10-0-0-1.nip.shop.svc"},
		"rewrite":  {"rewrite name suffix .old.cluster.local. .shop.svc.cluster.local. answer auto", "old", "web.old"},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, tt.extra, "ttl 30", shop)
			bubble(t, c, func(t *testing.T, h plugin.Handler, _ func(func())) {
				disagreed := metric(t, "audits_total", "disagreed")
				send(h, ask("first."+tt.cut, dns.TypeA))
				synctest.Wait() // the cut is made behind the client's back
				wrong := 0
				for range 500 {
					if send(h, ask(tt.exists, dns.TypeA)).Rcode != dns.RcodeSuccess {
						wrong++
					}
					time.Sleep(100 * time.Millisecond)
				}
				if found := metric(t, "audits_total", "disagreed") - disagreed; wrong > 1 || found != 1 {
					t.Errorf("wrong %d times, found %v times", wrong, found)
				}
			})
		})
	}
}
