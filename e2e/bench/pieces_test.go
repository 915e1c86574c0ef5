// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

func TestQuantiles(t *testing.T) {
	var one tally
	if p50, p99, p999 := one.quantiles(); p50 != 0 || p99 != 0 || p999 != 0 {
		t.Errorf("without answers: %s, %s, %s", p50, p99, p999)
	}
	for i := range 1000 {
		one.latencies = append(one.latencies, time.Duration(1000-i))
	}
	if p50, p99, p999 := one.quantiles(); p50 != 501 || p99 != 991 || p999 != 1000 {
		t.Errorf("%s, %s, %s", p50, p99, p999)
	}
	one.latencies = one.latencies[:1]
	if p50, _, p999 := one.quantiles(); p50 != p999 {
		t.Errorf("of one: %s, %s", p50, p999)
	}
}

// TestLoss has a generator without a socket, and moves the time.
func TestLoss(t *testing.T) {
	g := &generator{}
	first, second := g.take(0, dns.RcodeSuccess), g.take(0, dns.RcodeSuccess)
	answer := []byte{byte(second >> 8), byte(second), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0}
	g.answer(answer, time.Millisecond)
	g.answer(answer, time.Millisecond)
	g.expire(timeout - 1)
	if g.Answered != 1 || g.Late != 1 || g.Lost != 0 || g.open != 1 {
		t.Errorf("%d answered, %d late, %d lost, %d open", g.Answered, g.Late, g.Lost, g.open)
	}
	g.expire(timeout)
	if g.Lost != 1 || g.open != 0 || g.flights[first].open {
		t.Errorf("%d lost, %d open", g.Lost, g.open)
	}
	for range 1<<16 + 1 {
		g.take(timeout, 0)
	}
	if g.Lost != 2 || g.open != 1<<16 {
		t.Errorf("all IDs taken: %d lost, %d open", g.Lost, g.open)
	}
}

func TestAsExpected(t *testing.T) {
	for name, c := range map[string]struct {
		flags1, flags2, answers, rcode byte
		want                           bool
	}{
		"answer":        {0x80, 0x80, 1, dns.RcodeSuccess, true},
		"no such name":  {0x80, 0x83, 0, dns.RcodeNameError, true},
		"query":         {0x00, 0x80, 1, dns.RcodeSuccess, false},
		"truncated":     {0x82, 0x80, 1, dns.RcodeSuccess, false},
		"failure":       {0x80, 0x82, 0, dns.RcodeSuccess, false},
		"no data":       {0x80, 0x80, 0, dns.RcodeSuccess, false},
		"exists, wrong": {0x80, 0x80, 1, dns.RcodeNameError, false},
	} {
		packet := []byte{0, 0, c.flags1, c.flags2, 0, 1, 0, c.answers, 0, 0, 0, 0}
		if got := asExpected(packet, c.rcode); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestServers looks at the files that the table names.
func TestServers(t *testing.T) {
	h := &harness.Host{}
	defer h.End()
	err := h.Do(func() {
		for _, s := range servers {
			args := strings.Join(s.arguments(h), " ")
			if strings.Contains(args, "CONF") || strings.Contains(args, "DIR") || (len(s.loads) > 0) != (s.config == "") {
				t.Errorf("%s: %s", s.name, args)
			}
			if s.config != "" && !strings.Contains(s.config, serverAddr.Addr().String()) || strings.Contains(s.config, "PACKETCACHE") {
				t.Errorf("%s has the configuration\n%s", s.name, s.config)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNodeServer(t *testing.T) {
	for firewall, want := range map[lab.Backend]string{lab.NFTables: "nftables", lab.Backends[0]: "iptables"} {
		s := nodeServer(firewall, &lab.Tools{Dir: "/tools"}, "10.96.0.10")
		if at := slices.Index(s.args, "-firewall"); at < 0 || s.args[at+1] != want || !s.ownAddress {
			t.Errorf("%s: %q", firewall, s.args)
		}
		if env := environment(s.env); !slices.Contains(env, "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.10") || slices.Index(env, "PATH=/tools") < 1 {
			t.Errorf("%s: %q", firewall, env)
		}
	}
}

func TestStanza(t *testing.T) {
	const text = ".:53 {\n    errors\n    nodelocal {\n        link tun\n    }\n    cache 30\n}\n"
	if got := stanza.ReplaceAllString(text, ""); got != ".:53 {\n    errors\n    cache 30\n}\n" {
		t.Errorf("got\n%s", got)
	}
}
