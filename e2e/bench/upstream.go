// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

const (
	outsideZone = "example.org."
	answerTTL   = 3600 // longer than any run
)

// upstream is the server that the caches ask: it has every name, but for names outside with a search domain behind them.
func upstream(args []string) error {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	listen := flags.String("listen", "", "`ADDRESS`")
	_ = flags.Parse(args) // exits

	done := make(chan error, 2)
	for _, network := range []string{"udp", "tcp"} {
		s := &dns.Server{Addr: *listen, Net: network, Handler: dns.HandlerFunc(reply), MaxTCPQueries: -1}
		go func() { done <- s.ListenAndServe() }()
	}
	return fmt.Errorf("serving: %w", <-done)
}

func reply(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	m.RecursionAvailable = true
	q := r.Question[0]
	m.Rcode = rcode(strings.ToLower(q.Name))
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: answerTTL}
	switch {
	case m.Rcode != dns.RcodeSuccess:
		m.Ns = append(m.Ns, soa(q.Name))
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(10, 96, 7, 7)})
	case q.Qtype == dns.TypeAAAA:
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: net.ParseIP("fd00:96::77")})
	default:
		m.Ns = append(m.Ns, soa(q.Name))
	}
	_ = w.WriteMsg(m) // the client may be gone
}

// rcode says whether the name exists.
func rcode(name string) int {
	if at := strings.Index(name, outsideZone); at >= 0 && at+len(outsideZone) < len(name) {
		return dns.RcodeNameError
	}
	return dns.RcodeSuccess
}

// soa is of the name's last two labels.
func soa(name string) dns.RR {
	zone := name
	if labels := dns.Split(name); len(labels) > 2 {
		zone = name[labels[len(labels)-2]:]
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: answerTTL},
		Ns:  "ns." + zone, Mbox: "hostmaster." + zone, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: answerTTL,
	}
}
