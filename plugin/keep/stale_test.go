// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// TestStale asks for a name whose answer is 40 s old and had a TTL of 30 s, after a reload.
func TestStale(t *testing.T) {
	const (
		verify    = "serve_stale 1h verify 200ms 7s 5s"
		immediate = "serve_stale 1h immediate 7s 5s"
		prefer    = "serve_stale 1h verify 200ms 7s\n serve_stale_policy prefer_positive"
	)
	for name, test := range map[string]struct {
		cache  string
		now    func(*dns.Msg) *dns.Msg
		age    time.Duration
		want   string
		second string // what is told of the name a moment later
	}{
		"no serve_stale":            {"", silence, 40 * time.Second, "SERVFAIL", "SERVFAIL"},
		"verify, new answer":        {verify, address("192.0.2.2", 30), 40 * time.Second, "192.0.2.2 30", "192.0.2.2 30"},
		"verify, silence":           {verify, silence, 40 * time.Second, "192.0.2.1 7", "192.0.2.1 7"},
		"verify, SERVFAIL":          {verify, rcode(dns.RcodeServerFailure, 0), 40 * time.Second, "192.0.2.1 7", "192.0.2.1 7"},
		"verify, denied":            {verify, rcode(dns.RcodeNameError, 5), 40 * time.Second, "NXDOMAIN", "NXDOMAIN"},
		"verify, too old":           {verify, silence, time.Hour + 31*time.Second, "SERVFAIL", "SERVFAIL"},
		"verify, to the upstream's": {"serve_stale 1h verify", silence, 40 * time.Second, "192.0.2.1 0", "192.0.2.1 0"},
		"immediate, new answer":     {immediate, address("192.0.2.2", 30), 40 * time.Second, "192.0.2.1 7", "192.0.2.2 30"},
		"immediate, silence":        {immediate, silence, 40 * time.Second, "192.0.2.1 7", "192.0.2.1 7"},
		"prefer_positive, denied":   {prefer, rcode(dns.RcodeNameError, 5), 40 * time.Second, "192.0.2.1 7", "192.0.2.1 7"},
		"prefer_positive, changed":  {prefer, address("192.0.2.2", 30), 40 * time.Second, "192.0.2.2 30", "192.0.2.2 30"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			text := corefile(u, "keep", "cache {\n success 9984 30\n denial 9984 5\n servfail 0\n "+test.cache+"\n }")
			m := serve(t, text)
			m.told("a.test.")
			age(test.age)
			m.reload(text)
			u.set(test.now)
			if got := m.told("a.test."); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			asked := u.asked.Load()
			eventually(t, test.second, func() bool { return m.told("a.test.") == test.second })
			if strings.Contains(test.second, ".2 30") && u.asked.Load() > asked+1 {
				t.Errorf("asked %d times more", u.asked.Load()-asked)
			}
		})
	}
}

// TestALateAnswerGoesIntoTheCache has an upstream that answers after the client has got the old answer.
func TestALateAnswerGoesIntoTheCache(t *testing.T) {
	u := newUpstream(t)
	text := corefile(u, "keep", "cache {\n success 9984 30\n servfail 0\n serve_stale 1h verify 50ms 7s\n }")
	m := serve(t, text)
	m.told("a.test.")
	age(40 * time.Second)
	m.reload(text)
	hold := make(chan struct{})
	u.mu.Lock()
	u.answer, u.hold = address("192.0.2.2", 30), hold
	u.mu.Unlock()
	if got := m.told("a.test."); got != "192.0.2.1 7" {
		t.Error(got)
	}
	if got := m.told("a.test."); got != "192.0.2.1 7" || u.asked.Load() != 2 {
		t.Errorf("%s, asked %d times", got, u.asked.Load())
	}
	close(hold)
	eventually(t, "the new answer", func() bool { return m.told("a.test.") == "192.0.2.2 30" })
	// cache answers: the store is empty.
	forgetAll(t)
	if got := m.told("a.test."); got != "192.0.2.2 30" || u.asked.Load() != 2 {
		t.Errorf("%s, asked %d times", got, u.asked.Load())
	}
}

// forgetAll replaces the store with an empty one.
func forgetAll(t *testing.T) {
	t.Helper()
	if err := errors.Join(shared.Close(), shared.Open(store.Options{Size: store.MinSize})); err != nil {
		t.Fatal(err)
	}
}

func TestADenialIsNotGivenAfterItsLifetime(t *testing.T) {
	u := newUpstream(t)
	u.set(rcode(dns.RcodeNameError, 60))
	text := corefile(u, "keep", "cache {\n success 9984 30\n denial 9984 5\n servfail 0\n serve_stale 1h immediate\n }")
	m := serve(t, text)
	m.told("a.test.")
	m.reload(text)
	if got := m.told("a.test."); got != "NXDOMAIN" || u.asked.Load() != 1 {
		t.Errorf("%s, asked %d times", got, u.asked.Load())
	}
	age(5 * time.Second)
	u.set(silence)
	if got := m.told("a.test."); got != "SERVFAIL" {
		t.Error(got)
	}
}

func TestBareDenial(t *testing.T) {
	for _, code := range []int{dns.RcodeNameError, dns.RcodeSuccess} {
		u := newUpstream(t)
		u.set(rcode(code, 0))
		m := serve(t, corefile(u, "keep {\n bare_denial 5s\n }", plainCache))
		for range 10 {
			if got := m.told("a.test."); got != dns.RcodeToString[code] {
				t.Error(got)
			}
		}
		if n := u.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		m.stop()
	}
	u := newUpstream(t)
	u.set(rcode(dns.RcodeNameError, 0))
	m := serve(t, corefile(u, "keep", plainCache))
	m.told("a.test.")
	m.told("a.test.")
	if n := u.asked.Load(); n != 2 {
		t.Errorf("without bare_denial: asked %d times", n)
	}
}

// TestRenewalsAreTheClients checks that a renewal has the address of the client that asked: fairshare counts it as that client's.
func TestRenewalsAreTheClients(t *testing.T) {
	udp, tcp := net.Addr(&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4242}), net.Addr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)})
	for _, from := range []net.Addr{udp, tcp} {
		client := &capture.Writer{Remote: from}
		for name, w := range map[string]dns.ResponseWriter{
			"keep's":  detached(client),
			"cache's": &asked{ResponseWriter: client, who: cacheItself},
		} {
			if got := w.RemoteAddr(); got != from {
				t.Errorf("%s renewal comes from %s, want %s", name, got, from)
			}
		}
		if got := (&asked{ResponseWriter: client}).RemoteAddr(); got != from {
			t.Errorf("a client's question comes from %s, want %s", got, from)
		}
	}
}
