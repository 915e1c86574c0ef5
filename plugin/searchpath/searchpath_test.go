// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const (
	ok   = dns.RcodeSuccess
	nx   = dns.RcodeNameError
	a    = dns.TypeA
	aaaa = dns.TypeAAAA
)

func TestByName(t *testing.T) {
	bubble(t, []string{"web.shop.svc"}, func(n *node) {
		n.noAudits()
		n.plugin.zones[testZone].cuts = false
		n.want("api.example.com.shop.svc", aaaa, nx, "api.example.com.shop.svc AAAA")
		n.want("API.example.com.shop.svc", a, nx)
		n.want("b.example.com.shop.svc", a, nx, "b.example.com.shop.svc A")
		n.want("web.shop.svc", aaaa, ok, "web.shop.svc AAAA")
		n.want("web.shop.svc", a, ok, "web.shop.svc A")
		time.Sleep(5 * time.Second)
		n.want("api.example.com.shop.svc", a, nx, "api.example.com.shop.svc A")
	})
}

func TestCut(t *testing.T) {
	bubble(t, []string{"web.shop.svc"}, func(n *node) {
		n.noAudits()
		n.want("api.example.com.shop.svc", a, nx, "api.example.com.shop.svc A", "shop.svc A", "com.shop.svc A")
		n.want("api.example.com.shop.svc", aaaa, nx)
		n.want("www.example.com.shop.svc", a, nx)
		n.want("com.shop.svc", aaaa, nx)
		n.want("api.example.org.shop.svc", a, nx, "api.example.org.shop.svc A", "org.shop.svc A") // shop.svc exists
		n.want("api.example.com.svc", a, nx, "api.example.com.svc A", "com.svc A")
		n.want("example.com.svc", a, nx)
		n.want("api.example.com", a, nx, "api.example.com A", "com A")
		n.want("web.shop.svc", a, ok, "web.shop.svc A")
		time.Sleep(5 * time.Second)
		n.want("new.example.com.shop.svc", a, nx, "com.shop.svc A") // renewed, and nothing else
		n.want("b.example.com.shop.svc", a, nx)
	})
}

// TestNamesOfTheCluster: names that exist cost no question more, and are never denied.
func TestNamesOfTheCluster(t *testing.T) {
	bubble(t, []string{"web-0.web.shop.svc", "web-1.web.shop.svc", "redis.prod.svc"}, func(n *node) {
		n.noAudits()
		n.want("web-0.web.shop.svc", a, ok, "web-0.web.shop.svc A")
		n.want("web-0.web.shop.svc", aaaa, ok, "web-0.web.shop.svc AAAA")
		n.want("web-9.web.shop.svc", a, nx, "web-9.web.shop.svc A") // both cuts above are known to exist
		n.want("redis.prod.shop.svc", a, nx, "redis.prod.shop.svc A", "prod.shop.svc A")
		n.want("mysql.prod.shop.svc", a, nx)
		n.want("redis.prod.svc", a, ok, "redis.prod.svc A")
		// A namespace that is not there: all below it is denied.
		n.want("web.gone.svc", a, nx, "web.gone.svc A", "gone.svc A")
		n.want("db.gone.svc", a, nx)
	})
}

// TestDeniedByAClient: a name that a client asked for is a cut after the first full name below it was denied, too.
func TestDeniedByAClient(t *testing.T) {
	bubble(t, []string{"other.shop.svc"}, func(n *node) {
		n.noAudits()
		n.want("other.shop.svc", a, ok, "other.shop.svc A")
		n.want("web.shop.svc", aaaa, nx, "web.shop.svc AAAA")
		n.want("web-0.web.shop.svc", a, nx, "web-0.web.shop.svc A")
		n.want("web-1.web.shop.svc", a, nx)
	})
}

// TestPassedOn: a question outside the rule goes to the cluster DNS unchanged.
func TestPassedOn(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.noAudits()
		n.ask("api.example.com", a)
		n.wantAsked("api.example.com A", "com A")
		for name, change := range map[string]func(r *dns.Msg){
			"DO":            func(r *dns.Msg) { r.SetEdns0(4096, true) },
			"CD":            func(r *dns.Msg) { r.CheckingDisabled = true },
			"TXT":           func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeTXT },
			"SRV":           func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeSRV },
			"CH":            func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS },
			"NOTIFY":        func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify },
			"UPDATE":        func(r *dns.Msg) { r.Opcode = dns.OpcodeUpdate },
			"two questions": func(r *dns.Msg) { r.Question = append(r.Question, r.Question[0]) },
			"underscore":    func(r *dns.Msg) { r.Question[0].Name = "_x.api.example.com." + testZone },
			"zone":          func(r *dns.Msg) { r.Question[0].Name = testZone },
			"another zone":  func(r *dns.Msg) { r.Question[0].Name = "api.example.com." },
			"TSIG":          func(r *dns.Msg) { r.SetTsig("key.", dns.HmacSHA256, 300, 0) },
		} {
			r := query("www.example.com", a)
			change(r)
			n.send(r)
			if got := n.up.takeAsked(); len(got) != 1 {
				t.Errorf("%s: asked %q", name, got)
			}
		}
		r := query("www.example.com", a)
		r.SetEdns0(1232, false)
		n.send(r)
		n.wantAsked()
	})
}

// TestNoStatement: failures and answers of an unusual form make no denial.
func TestNoStatement(t *testing.T) {
	for name, answer := range map[string]func(r *dns.Msg) *dns.Msg{
		"nothing":  noAnswer,
		"SERVFAIL": rcode(dns.RcodeServerFailure),
		"no SOA":   rcode(dns.RcodeNameError),
		"stub":     func(r *dns.Msg) *dns.Msg { return denyMsg(r, "com."+testZone, 5) },
		"TC": func(r *dns.Msg) *dns.Msg {
			m := denyMsg(r, testZone, 5)
			m.Truncated = true
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(n *node) {
				n.noAudits()
				n.up.say("com A", answer)
				n.want("api.example.com", a, nx, "api.example.com A", "com A")
				n.up.say("www.example.com", answer)
				n.ask("www.example.com", a)
				n.ask("www.example.com", aaaa)
				n.wantAsked("www.example.com A", "www.example.com AAAA")
			})
		})
	}
}

// TestOneProbe: many new names below one unknown cut are asked at once, and the cut once.
func TestOneProbe(t *testing.T) {
	bubble(t, []string{"web.shop.svc"}, func(n *node) {
		n.noAudits()
		done := make(chan int)
		for i := range 50 {
			go func() { done <- n.ask(fmt.Sprintf("n%d.example.com", i), a) }()
		}
		for range 50 {
			if got := <-done; got != nx {
				t.Error(got)
			}
		}
		probes := 0
		asked := n.up.takeAsked()
		for _, q := range asked {
			if q == "com A" {
				probes++
			}
		}
		if probes != 1 || len(asked) != 51 {
			t.Errorf("%d probes among %d questions", probes, len(asked))
		}
		// The renewal is one question for all, and takes as long as one.
		time.Sleep(time.Minute)
		start := time.Now()
		for i := range 50 {
			go func() { done <- n.ask(fmt.Sprintf("n%d.example.com", i), a) }()
		}
		for range 50 {
			if got := <-done; got != nx {
				t.Error(got)
			}
		}
		if got := n.up.takeAsked(); len(got) != 1 || time.Since(start) > time.Millisecond {
			t.Errorf("%s, asked %q", time.Since(start), got)
		}
	})
}

// TestRenewalThatHangs: a question waits for patience at most, and goes to the cluster DNS then. Close ends the probe.
func TestRenewalThatHangs(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.noAudits()
		n.want("api.example.com", a, nx, "api.example.com A", "com A")
		time.Sleep(5 * time.Second)
		n.up.setSlow("com A", time.Hour)
		start := time.Now()
		if n.ask("www.example.com", a) != nx || time.Since(start) != patience+time.Millisecond {
			t.Errorf("waited %s", time.Since(start))
		}
		n.wantAsked("com A", "www.example.com A")
		start = time.Now()
		if n.plugin.Close(); time.Since(start) > 0 {
			t.Errorf("closing took %s", time.Since(start))
		}
		n.want("api.example.net", a, nx, "api.example.net A") // no probe any more
	})
}

// TestCutThatComesToExist: the renewal finds the new name, and the full name goes to the cluster DNS.
func TestCutThatComesToExist(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.noAudits()
		n.want("api.prod.shop.svc", a, nx, "api.prod.shop.svc A", "shop.svc A") // no namespace shop
		n.up.set("api.prod.shop.svc", true)
		time.Sleep(5 * time.Second)
		n.want("api.prod.shop.svc", a, ok, "shop.svc A", "api.prod.shop.svc A")
		n.want("api.prod.shop.svc", a, ok, "api.prod.shop.svc A")
	})
}

// TestRandomNames: memory is bounded, probes too, and cuts in use stay.
func TestRandomNames(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.noAudits()
		n.up.delay = 0
		n.want("api.example.com", a, nx, "api.example.com A", "com A")
		for i := range 20_000 {
			n.ask(fmt.Sprintf("r%d.random%d", i, i), a) // at once: the clock stands still
		}
		n.up.takeAsked()
		z := n.plugin.zones[testZone]
		if got := z.names.len() + z.proven.len(); got > 4*namesKept {
			t.Errorf("%d names in memory", got)
		}
		for i := range 1000 {
			n.ask(fmt.Sprintf("r%d.com", i), a)
		}
		n.wantAsked()
		if got := z.probes.tokens; got >= 1 {
			t.Errorf("%v probes left", got)
		}
	})
}

// TestJoin: below what is likely a cut, A, AAAA and other clients of one name cost one question. A name that exists is
// asked for both types, and the second one waits for the first no longer than patience.
func TestJoin(t *testing.T) {
	bubble(t, []string{"web.shop.svc", "web.lab.svc", "example.org.lab.svc"}, func(n *node) {
		n.noAudits()
		n.ask("web.shop.svc", a)
		n.ask("web.lab.svc", a)
		n.wantAsked("web.shop.svc A", "web.lab.svc A")
		n.want("www.example.com.shop.svc", a, nx, "www.example.com.shop.svc A", "com.shop.svc A")
		n.want("www.example.org.shop.svc", a, nx, "www.example.org.shop.svc A", "org.shop.svc A")
		all := func(name string) (took time.Duration) {
			done, start := make(chan int), time.Now()
			for _, qtype := range []uint16{a, aaaa, a, aaaa} {
				go func() { done <- n.ask(name, qtype) }()
			}
			for range 4 {
				<-done
			}
			return time.Since(start)
		}
		if took := all("api.example.com.lab.svc"); took != n.up.delay {
			t.Errorf("waited %s", took)
		}
		if got := n.up.takeAsked(); len(got) != 2 { // one of A and AAAA, and the cut
			t.Errorf("asked %q", got)
		}
		if took := all("example.org.lab.svc"); took != 2*n.up.delay {
			t.Errorf("waited %s", took)
		}
		if got := n.up.takeAsked(); len(got) != 4 {
			t.Errorf("asked %q", got)
		}
		time.Sleep(existsLife)
		n.up.setSlow("example.org.lab.svc A", time.Second)
		n.up.setSlow("example.org.lab.svc AAAA", time.Second)
		if took := all("example.org.lab.svc"); took != time.Second+patience {
			t.Errorf("waited %s", took)
		}
		if z := n.plugin.zones[testZone]; len(z.flights) > 0 {
			t.Errorf("%d under way", len(z.flights))
		}
	})
}

// TestShortDenials: a denial with a short TTL makes no cut and no series of questions.
func TestShortDenials(t *testing.T) {
	bubble(t, nil, func(n *node) {
		n.noAudits()
		n.up.ttl = 1
		n.want("api.example.com", a, nx, "api.example.com A")
		n.want("api.example.com", aaaa, nx, "api.example.com AAAA")
		n.up.ttl = 5
		n.want("api.example.com", a, nx, "api.example.com A", "com A")
		time.Sleep(5 * time.Second)
		n.up.ttl = 0
		n.want("api.example.com", a, nx, "com A", "api.example.com A")
		n.want("api.example.com", a, nx, "api.example.com A")
	})
}
