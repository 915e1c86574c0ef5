// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const plainCache = "cache {\n success 9984 30\n denial 9984 5\n servfail 0\n }"

func corefile(u *upstream, keep, cache string) string {
	return fmt.Sprintf(".:PORT {\n bind 127.0.0.1\n %s\n %s\n forward . %s {\n force_tcp\n read_timeout 500ms\n max_connect_attempts 2\n max_fails 0\n }\n}\n", cache, keep, u.addr)
}

func TestAReloadAndAStartAskNothingAgain(t *testing.T) {
	const names = 1000
	u := newUpstream(t)
	text := corefile(u, "keep "+t.TempDir(), plainCache)
	m := serve(t, text)
	all := func(want string) {
		t.Helper()
		for i := range names {
			if got := m.told(fmt.Sprintf("n%d.test.", i)); got != want {
				t.Fatalf("n%d: %s, want %s", i, got, want)
			}
		}
	}
	all("192.0.2.1 30")
	age(10 * time.Second)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"reload", func() { m.reload(text) }},
		{"end and start", func() { m.stop(); m.start(text) }},
	} {
		u.asked.Store(0)
		step.do()
		all("192.0.2.1 19")
		if n := u.asked.Load(); n > 0 {
			t.Errorf("%s: %d questions", step.name, n)
		}
	}
	age(20 * time.Second)
	m.reload(text)
	u.set(address("192.0.2.2", 30))
	all("192.0.2.2 30")
}

func TestAReloadWithOtherOptionsOfKeepAsksNothingAgain(t *testing.T) {
	u := newUpstream(t)
	dir := t.TempDir()
	m := serve(t, corefile(u, "keep", plainCache))
	m.told("a.test.")
	for _, keep := range []string{"keep {\n size 524288\n }", "keep " + dir, "keep " + dir + " {\n bare_denial 5s\n }"} {
		m.reload(corefile(u, keep, plainCache))
		if got := m.told("a.test."); u.asked.Load() != 1 || !strings.HasPrefix(got, "192.0.2.1 ") {
			t.Errorf("%s: %s, asked %d times", keep, got, u.asked.Load())
		}
	}
}

func TestAnotherBlockIsNotAnsweredFromIt(t *testing.T) {
	u, other := newUpstream(t), newUpstream(t)
	dir := t.TempDir()
	m := serve(t, corefile(u, "keep "+dir, plainCache))
	m.told("a.test.")
	other.set(address("192.0.2.7", 30))
	for _, text := range []string{
		corefile(other, "keep "+dir, plainCache),
		strings.Replace(corefile(other, "keep "+dir, plainCache), "cache", "rewrite name x.test y.test\n cache", 1),
	} {
		m.reload(text)
		if got := m.told("a.test."); got != "192.0.2.7 30" {
			t.Error(got)
		}
	}
	m.reload(corefile(u, "keep "+dir, plainCache))
	if got := m.told("a.test."); u.asked.Load() != 1 || !strings.HasPrefix(got, "192.0.2.1 ") {
		t.Errorf("%s, asked %d times", got, u.asked.Load())
	}
}

func TestARestartWhileTheUpstreamIsSilent(t *testing.T) {
	const names = 200
	u := newUpstream(t)
	dir := t.TempDir()
	text := corefile(u, "keep "+dir, "cache {\n success 9984 30\n servfail 0\n serve_stale 1h verify 100ms 5s 5s\n }")
	m := serve(t, text)
	for i := range names {
		m.told(fmt.Sprintf("n%d.test.", i))
	}
	age(40 * time.Second) // all TTLs are over
	m.stop()
	u.set(silence)
	m.start(text)
	var wg sync.WaitGroup
	var bad atomic.Int64
	for i := range names {
		wg.Go(func() {
			if got := m.told(fmt.Sprintf("n%d.test.", i)); got != "192.0.2.1 5" {
				bad.Add(1)
				t.Log(i, got)
			}
		})
	}
	wg.Wait()
	if bad.Load() > 0 {
		t.Errorf("%d of %d", bad.Load(), names)
	}
	age(time.Hour) // and the stale time as well
	if got := m.told("n1.test."); got != "SERVFAIL" {
		t.Error(got)
	}
}

func TestAThousandClientsAskOneColdName(t *testing.T) {
	for _, packetcache := range []string{"", "packetcache\n "} {
		u := newUpstream(t)
		u.hold = make(chan struct{})
		m := serve(t, strings.Replace(corefile(u, packetcache+"keep", plainCache), "500ms", "2s", 1))
		var sent, wg sync.WaitGroup
		var good atomic.Int64
		for range 1000 {
			sent.Add(1)
			wg.Go(func() {
				if a := askOften(t, m.addr, "CoLd.test.", sent.Done); strings.HasPrefix(short(a), "192.0.2.1 ") && a.Question[0].Name == "CoLd.test." {
					good.Add(1)
				}
			})
		}
		sent.Wait()
		eventually(t, "the upstream is asked", func() bool { return u.asked.Load() > 0 })
		close(u.hold)
		wg.Wait()
		if n := u.asked.Load(); n != 1 || good.Load() != 1000 {
			t.Errorf("%q: asked %d times, %d answered", packetcache, n, good.Load())
		}
		m.stop()
	}
}

// askOften asks over UDP as a C library does, which sends the datagram again if it was lost; sent is called when
// it was sent once.
func askOften(t *testing.T, addr, name string, sent func()) *dns.Msg {
	c, err := dns.Dial("udp", addr)
	if err != nil {
		t.Error(err)
		sent()
		return nil
	}
	defer c.Close()
	r := new(dns.Msg).SetQuestion(name, dns.TypeA)
	for try := range 4 {
		_ = c.WriteMsg(r)
		if try == 0 {
			sent()
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if a, err := c.ReadMsg(); err == nil && a.Id == r.Id {
			return a
		}
	}
	return nil
}

// TestWhatIsNotKept asks a name, reloads, and asks again.
func TestWhatIsNotKept(t *testing.T) {
	option := func(o dns.EDNS0) func(*dns.Msg) {
		return func(r *dns.Msg) {
			r.SetEdns0(1232, false)
			r.IsEdns0().Option = []dns.EDNS0{o}
		}
	}
	cookie := option(&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"})
	subnet := option(&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0).To4()})
	for name, test := range map[string]struct {
		cache  string
		change func(*dns.Msg)
		asked  int64
		ttl    string
	}{
		"a plain question":            {plainCache, func(*dns.Msg) {}, 1, "24"},
		"without cache":               {"", func(*dns.Msg) {}, 1, "24"},
		"keepttl":                     {"cache {\n keepttl\n }", func(*dns.Msg) {}, 1, "30"},
		"a zone that cache leaves":    {"cache 30 other.test", func(*dns.Msg) {}, 2, "30"},
		"a zone that cache keeps":     {"cache 30 test", func(*dns.Msg) {}, 1, "24"},
		"disable success":             {"cache {\n disable success\n }", func(*dns.Msg) {}, 2, "30"},
		"disable success of another":  {"cache {\n disable success other.test\n }", func(*dns.Msg) {}, 1, "24"},
		"a question with a cookie":    {plainCache, cookie, 1, "24"},
		"a question with a subnet":    {plainCache, subnet, 2, "30"},
		"a question with EDNS and DO": {plainCache, func(r *dns.Msg) { r.SetEdns0(1232, true) }, 1, "24"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			u.set(func(r *dns.Msg) *dns.Msg {
				m := address("192.0.2.1", 30)(r)
				m.AuthenticatedData = true
				return m
			})
			text := corefile(u, "keep", test.cache)
			m := serve(t, text)
			r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
			test.change(r)
			for range 2 {
				a, err := dns.Exchange(r, m.addr)
				if err != nil {
					t.Fatal(err)
				}
				do := r.IsEdns0() != nil && r.IsEdns0().Do()
				if test.asked == 1 && a.AuthenticatedData != do && test.cache != "" {
					t.Errorf("AD is %v", a.AuthenticatedData)
				}
				if (a.IsEdns0() != nil) != (r.IsEdns0() != nil) {
					t.Error("EDNS in the answer alone, or in the question alone")
				}
				if u.asked.Load() == test.asked {
					if got := short(a); got != "192.0.2.1 "+test.ttl && got != "192.0.2.1 30" {
						t.Error(got)
					}
				}
				age(5 * time.Second)
				m.reload(text)
			}
			if n := u.asked.Load(); n != test.asked {
				t.Errorf("asked %d times, want %d", n, test.asked)
			}
		})
	}
}
