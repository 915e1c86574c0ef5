// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// value returns the value of m.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// doubt returns the phase of the zone and the number of barred names.
func (n *node) doubt() (phase, int) {
	z := n.plugin.zones[testZone]
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.phase, len(z.barred)
}

func audits(result string) float64 { return value(auditsTotal.WithLabelValues(testZone, result)) }

// corp makes names below a denied one, as hosts, template or rewrite in the Corefile of a cluster DNS do.
func corp(n *node, cut string, names ...string) {
	n.t.Helper()
	n.up.say(cut, func(r *dns.Msg) *dns.Msg { return denyMsg(r, testZone, 30) })
	for _, name := range names {
		n.up.say(name+" A", data)
	}
	n.ask("first."+cut, a)
	n.wantAsked("first."+cut+" A", cut+" A")
}

// TestDisagreement: an audit finds the name that exists below a cut, and the cut is never used again. The second one
// ends the work for the zone.
func TestDisagreement(t *testing.T) {
	bubble(t, nil, func(n *node) {
		before := audits(disagreed)
		corp(n, "corp", "db.corp")
		if n.ask("db.corp", a) != nx { // wrong, once
			t.Fatal("no cut")
		}
		n.wantAsked("db.corp A", "db.corp A", "corp A") // the audit; what is at db.corp and at corp
		wrong := 0
		for range 1000 { // while it is found out why, and afterwards
			if n.ask("db.corp", a) != ok {
				wrong++
			}
			n.ask("x.corp", a)
			time.Sleep(100 * time.Millisecond)
		}
		if p, _ := n.doubt(); wrong > 0 || p != doubted || audits(disagreed) != before+1 || value(zoneActive.WithLabelValues(testZone)) != 1 {
			t.Errorf("%d times wrong again", wrong)
		}
		n.up.takeAsked()
		n.want("api.example.com", a, nx, "api.example.com A", "com A") // other cuts go on
		n.want("www.example.com", a, nx, "www.example.com A")          // by an audit

		corp(n, "lab", "db.lab")
		n.ask("db.lab", a)
		time.Sleep(time.Minute)
		if p, _ := n.doubt(); p != ended || value(zoneActive.WithLabelValues(testZone)) != 0 || audits(disagreed) != before+2 {
			t.Errorf("phase %d", p)
		}
		n.up.takeAsked()
		for range 2 {
			n.want("www.example.com", a, nx, "www.example.com A")
			n.want("www.example.com", aaaa, nx, "www.example.com AAAA")
		}
	})
}

// TestDisagreementByName: a template that denies AAAA of all names, as some have against useless AAAA queries.
func TestDisagreementByName(t *testing.T) {
	bubble(t, []string{"web.shop.svc"}, func(n *node) {
		n.up.say("web.shop.svc AAAA", func(r *dns.Msg) *dns.Msg { return denyMsg(r, testZone, 30) })
		n.ask("web.shop.svc", aaaa)
		if n.ask("web.shop.svc", a) != nx {
			t.Fatal("not by name")
		}
		for range 100 {
			time.Sleep(time.Second)
			n.ask("web.shop.svc", aaaa)
			if n.ask("web.shop.svc", a) != ok {
				t.Fatal("wrong twice")
			}
		}
		if p, _ := n.doubt(); p != doubted {
			t.Errorf("phase %d", p)
		}
	})
}

// TestWitness: a name that was seen to exist is asked for before a cut above it begins. So it is never denied.
func TestWitness(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.up.say("corp", func(r *dns.Msg) *dns.Msg { return denyMsg(r, testZone, 5) })
		n.up.say("db.corp A", data)
		n.want("db.corp", a, ok, "db.corp A")
		n.want("x.corp", a, nx, "x.corp A") // corp exists, it seems
		time.Sleep(existsLife)
		n.want("y.corp", a, nx, "y.corp A", "corp A", "db.corp A", "db.corp A", "corp A")
		for range 100 {
			time.Sleep(time.Second)
			if n.ask("db.corp", a) != ok {
				t.Fatal("denied")
			}
		}
		if p, _ := n.doubt(); p != doubted {
			t.Errorf("phase %d", p)
		}
	})
	bubble(t, []string{"web-0.web.shop.svc", "api.shop.svc"}, func(n *node) { // scaled to nothing
		n.noAudits()
		n.want("web-0.web.shop.svc", a, ok, "web-0.web.shop.svc A")
		n.up.set("web-0.web.shop.svc", false)
		time.Sleep(existsLife)
		n.want("web-1.web.shop.svc", a, nx, "web-1.web.shop.svc A", "shop.svc A", "web.shop.svc A", "web-0.web.shop.svc A")
		n.want("web-2.web.shop.svc", a, nx)
	})
}

// TestChange: what came to exist after the denial is no disagreement, also if a cache, or another instance of the
// cluster DNS, remembers the denial for a while.
func TestChange(t *testing.T) {
	for _, remembered := range []time.Duration{0, 20 * time.Second} {
		bubble(t, nil, func(n *node) {
			before := audits(changed)
			n.ask("api.prod.shop.svc", a)
			n.wantAsked("api.prod.shop.svc A", "shop.svc A")
			n.up.set("db.prod.shop.svc", true)
			created := time.Now()
			n.up.say("shop.svc", func(r *dns.Msg) *dns.Msg {
				if left := remembered - time.Since(created); left > 0 {
					return denyMsg(r, testZone, uint32(left/time.Second)+1)
				}
				return new(dns.Msg).SetReply(r)
			})
			if n.ask("db.prod.shop.svc", a) != nx {
				t.Fatal("no cut")
			}
			for range 60 {
				time.Sleep(time.Second)
				if n.ask("db.prod.shop.svc", a) != ok {
					t.Fatal("wrong twice")
				}
			}
			if p, barred := n.doubt(); p != working || barred > 0 || audits(changed) != before+1 {
				t.Errorf("phase %d, %d barred, %v changed", p, barred, audits(changed)-before)
			}
		})
	}
}

// TestSilenceIsNoDisagreement: an audit without an answer says nothing.
func TestSilenceIsNoDisagreement(t *testing.T) {
	for _, answer := range []func(*dns.Msg) *dns.Msg{noAnswer, rcode(dns.RcodeServerFailure), rcode(dns.RcodeRefused)} {
		bubble(t, nil, func(n *node) {
			n.ask("api.example.com", a)
			n.wantAsked("api.example.com A", "com A")
			n.up.say("www.example.com A", answer)
			before := audits(silence.String())
			n.want("www.example.com", a, nx, "www.example.com A")
			n.want("www.example.com", a, nx)
			if p, barred := n.doubt(); p != working || barred > 0 || audits(silence.String()) != before+1 {
				t.Errorf("phase %d", p)
			}
		})
	}
}

// TestSample: each name is audited once in ten minutes, and one name a second at most.
func TestSample(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.ask("api.example.com", a)
		n.wantAsked("api.example.com A", "com A")
		n.up.setSlow("com A", 0)
		count := func(seconds, names int) (audited int) {
			for s := range seconds {
				for i := range names {
					n.ask(fmt.Sprintf("n%d.example.com", (s+i)%names), a)
				}
				time.Sleep(time.Second)
			}
			for _, q := range n.up.takeAsked() {
				if strings.HasPrefix(q, "n") {
					audited++
				}
			}
			return audited
		}
		if got := count(100, 3); got != 3 {
			t.Errorf("3 names: %d audits", got)
		}
		if got := count(100, 1000); got < 90 || got > 104 {
			t.Errorf("1000 names: %d audits", got)
		}
		time.Sleep(auditAgain)
		if got := count(100, 3); got != 3 {
			t.Errorf("3 names later: %d audits", got)
		}
	})
}
