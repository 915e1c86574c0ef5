// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// ScriptTTL is the TTL in seconds of all that a Script answers. It is the shortest that CoreDNS caches anything for.
const ScriptTTL = 5

// Script is a cluster DNS, over TCP, that answers what a test has told it.
type Script struct {
	mu     sync.Mutex
	hosts  map[string]netip.Addr
	silent bool
}

// Follow starts a script in the replica, in the place of its server.
func (r *Replica) Follow(t testing.TB) *Script {
	t.Helper()
	s := &Script{hosts: map[string]netip.Addr{}}
	var l net.Listener
	err := r.Run(func() (err error) {
		l, err = net.Listen("tcp", Port53(r.IP).String())
		return err
	})
	if err != nil {
		t.Fatalf("listening in %s: %v", r.Name, err)
	}
	server := &dns.Server{Listener: l, Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // ends with the listener
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return s
}

// Set gives a name an address; the zero one takes the name away.
func (s *Script) Set(name string, addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[name] = addr
}

// Silence makes the server take queries without answering them, or ends that.
func (s *Script) Silence(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// ServeDNS implements dns.Handler.
func (s *Script) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	s.mu.Lock()
	addr, silent := s.hosts[r.Question[0].Name], s.silent
	s.mu.Unlock()
	if silent {
		return
	}
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	hdr := dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ScriptTTL}
	if addr.IsValid() && r.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: addr.AsSlice()}}
	} else {
		hdr.Name, hdr.Rrtype = "cluster.local.", dns.TypeSOA
		m.Ns = []dns.RR{&dns.SOA{Hdr: hdr, Ns: "ns.dns.cluster.local.", Mbox: "hostmaster.cluster.local.", Minttl: ScriptTTL}}
	}
	if !addr.IsValid() {
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m) // the client may be gone
}
