// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// ScriptTTL is the TTL in seconds of all that a Script answers. It is the shortest that CoreDNS caches anything for.
const ScriptTTL = 5

// Script is a cluster DNS, over TCP, that answers what a test has told it.
type Script struct {
	mu     sync.Mutex
	hosts  map[string]netip.Addr
	silent bool
}

// StartScript starts a script at an address of the namespace. The script ends with the test.
func StartScript(t testing.TB, n *netns.Namespace, ip netip.Addr) *Script {
	t.Helper()
	s, l := &Script{hosts: map[string]netip.Addr{}}, listen(t, n, ip)
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

// listen opens port 53 for TCP at an address of the namespace.
func listen(t testing.TB, n *netns.Namespace, ip netip.Addr) (l net.Listener) {
	t.Helper()
	err := n.Run(func() (err error) {
		l, err = net.Listen("tcp", client.Port53(ip).String())
		return err
	})
	if err != nil {
		t.Fatalf("listening on port 53 of %s in %s: %v", ip, n.Name, err)
	}
	return l
}

// Set gives a name an address. The zero address removes the name.
func (s *Script) Set(name string, addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[name] = addr
}

// Silence sets whether the server leaves all queries without an answer.
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
