// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Slow answers any name after a delay. The cluster DNS or the external resolver forwards zones to it.
type Slow struct {
	delay atomic.Int64
	end   chan struct{}
}

const slowAddress = "127.0.0.1:5300"

// Delay sets how long each later query waits for its answer.
func (s *Slow) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// StartSlow starts a slow server in the namespace, at slowAddress. The server ends with the test.
func StartSlow(t testing.TB, n *netns.Namespace) *Slow {
	t.Helper()
	s := &Slow{end: make(chan struct{})}
	var conn net.PacketConn
	err := n.Run(func() (err error) {
		conn, err = net.ListenPacket("udp", slowAddress)
		return err
	})
	if err != nil {
		t.Fatalf("listening on %s: %v", slowAddress, err)
	}
	server := &dns.Server{PacketConn: conn, Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // ends with the connection
	}()
	t.Cleanup(func() {
		close(s.end)
		conn.Close()
		<-done
	})
	return s
}

// ServeDNS implements dns.Handler; each query has a goroutine of its own.
func (s *Slow) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	select {
	case <-time.After(time.Duration(s.delay.Load())):
	case <-s.end:
		return
	}
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	if q := r.Question[0]; q.Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30},
			A:   net.IPv4(10, 96, 8, 8),
		}}
	}
	_ = w.WriteMsg(m) // the client may be gone
}

// SlowName is a name that Slow answers, of its own for each tag and number.
func SlowName(tag string, i int) string {
	label := strings.Map(func(r rune) rune {
		if r == ' ' || r == '.' || r == ':' {
			return '-'
		}
		return r
	}, tag)
	return fmt.Sprintf("u%d.%s.slow.cluster.local.", i, label)
}
