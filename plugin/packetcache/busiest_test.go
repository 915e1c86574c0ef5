// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// TestNoHandler has queries that come to no handler, as self-queries do, which nodelocal answers in front: they are not counted.
func TestNoHandler(t *testing.T) {
	s := stand(t)
	c := dial(t, s.lease.Addr().String())
	before := busiest.Process.Report(time.Now()).Queries
	for range 10 {
		if ask(c, wiretest.Pack(t, "www.example.org.", dns.TypeA, nil), 2*time.Second) == nil {
			t.Fatal("no answer")
		}
	}
	if after := busiest.Process.Report(time.Now()).Queries; after > before || testutil.ToFloat64(s.misses) != 10 { // less if a period has ended
		t.Errorf("%d of %g counted", after-before, testutil.ToFloat64(s.misses))
	}
}

// TestBusiest counts each query once: hits, misses, those over TCP, and those that the header rejects.
func TestBusiest(t *testing.T) {
	setDirectives()
	addr := serve(t, `.:PORT {
		bind 127.0.0.1
		packetcache {
			ttl 1h
		}
		prometheus 127.0.0.1:0
		template IN A yes {
			answer "{{ .Name }} 50 IN A 192.0.2.9"
		}
		template IN A no {
			rcode NXDOMAIN
			authority "no. 60 IN SOA ns.no. mail.no. 1 2 3 4 60"
		}
	}`)
	port := netip.MustParseAddrPort(addr).Port()
	client := netip.AddrFrom4([4]byte{127, 77, byte(port >> 8), byte(port)}) // each run of the test has its own: the counts are the process's
	ask := func(network string, times int, query []byte) {
		for range times {
			from := net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)))
			if network == "tcp" {
				from = net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
			}
			c, err := (&net.Dialer{LocalAddr: from}).Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			co := dns.Conn{Conn: c}
			_ = co.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := co.Write(query); err != nil {
				t.Fatal(err)
			}
			if _, err := co.ReadMsgHeader(nil); err != nil {
				t.Fatal(err)
			}
			co.Close()
		}
	}
	rejected := wiretest.Pack(t, "www.yes.", dns.TypeA, nil)
	rejected[5] = 2 // questions
	ask("udp", 20, wiretest.Pack(t, "WWW.yes.", dns.TypeA, nil))
	ask("udp", 10, wiretest.Pack(t, "www.no.", dns.TypeA, nil))
	ask("udp", 1, rejected)
	ask("tcp", 3, wiretest.Pack(t, "www.no.", dns.TypeA, nil))
	// A miss is what is no hit, also a query that came to the stock server's socket before that of the packet cache was open.
	var got, want status.Client
	for end := time.Now().Add(5 * time.Second); (got != want || !want.Address.IsValid()) && time.Now().Before(end); { // the last one is counted after its answer
		hits := uint64(counted(t, "coredns_packetcache_hits_total", addr))
		want = status.Client{Address: client, Queries: 34, Misses: 34 - hits, NXDomain: 13, Name: "www.yes."}
		for _, c := range status.Collect().Busiest.Clients {
			if c.Address == client {
				got = c
			}
		}
	}
	if want.Misses > 20 {
		t.Errorf("%d misses", want.Misses)
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
