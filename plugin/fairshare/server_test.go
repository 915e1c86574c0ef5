// SPDX-License-Identifier: Apache-2.0

package fairshare

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"

	_ "github.com/nodelocaldns/nodelocaldns/plugin/keep"
	_ "github.com/nodelocaldns/nodelocaldns/plugin/packetcache"

	"github.com/miekg/dns"
)

// TestMain orders the plugins as plugin.cfg does.
func TestMain(m *testing.M) {
	dnsserver.Directives = []string{"packetcache", "bind", "cache", "keep", "fairshare", "forward"}
	dnsserver.Quiet, caddy.Quiet = true, true
	os.Exit(m.Run())
}

// TestARefusalIsNotKept refuses one client for a name. Then another client asks for the same name.
func TestARefusalIsNotKept(t *testing.T) {
	for _, chain := range []string{"", "keep", "packetcache\n keep"} {
		t.Run(strings.ReplaceAll(chain, "\n", ""), func(t *testing.T) {
			asked := make(chan string, 64)
			upstream, wake := sleepyUpstream(t, asked)
			addr := serve(t, fmt.Sprintf(". {\n bind 127.0.0.1\n cache {\n  servfail 5s\n }\n %s\n fairshare 4\n forward . %s\n}", chain, upstream))
			defer close(wake)
			for i := range 4 {
				go func() { _, _ = exchange("127.0.0.1", addr, fmt.Sprintf("silent%d.test.", i)) }()
			}
			for range 4 {
				select {
				case <-asked:
				case <-time.After(5 * time.Second):
					t.Fatal("the upstream is not asked")
				}
			}
			for _, step := range []struct {
				from string
				want int
			}{{"127.0.0.1", dns.RcodeServerFailure}, {"127.0.0.2", dns.RcodeSuccess}, {"127.0.0.1", dns.RcodeSuccess}} {
				m, err := exchange(step.from, addr, "new.test.")
				if err != nil || m.Rcode != step.want {
					t.Fatalf("%s: %v, %v; want %s", step.from, m, err, dns.RcodeToString[step.want])
				}
			}
		})
	}
}

// sleepyUpstream starts an upstream that tells the names it is asked for, and answers silent ones when wake is closed.
func sleepyUpstream(t *testing.T, asked chan<- string) (addr string, wake chan struct{}) {
	t.Helper()
	wake = make(chan struct{})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if name := r.Question[0].Name; strings.HasPrefix(name, "silent") {
			asked <- name
			<-wake
		}
		m := new(dns.Msg).SetReply(r)
		rr, _ := dns.NewRR(r.Question[0].Name + " 30 IN A 192.0.2.1")
		m.Answer = []dns.RR{rr}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return pc.LocalAddr().String(), wake
}

// serve starts a server with one block, at a port of its own.
func serve(t *testing.T, text string) (addr string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = pc.LocalAddr().String()
	_ = pc.Close()
	_, port, _ := net.SplitHostPort(addr)
	text = strings.Replace(text, ". {", ".:"+port+" {", 1)
	inst, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(text), Filepath: "Corefile", ServerTypeName: "dns"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Cleanup(func() {
		inst.ShutdownCallbacks()
		_ = inst.Stop()
	})
	return addr
}

// exchange asks once, from a local address.
func exchange(from, server, name string) (*dns.Msg, error) {
	c := &dns.Client{Timeout: 5 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), server)
	return m, err
}
