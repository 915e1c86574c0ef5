// SPDX-License-Identifier: Apache-2.0

package loopcheck

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy/caddyfile"

	"github.com/miekg/dns"
)

const probeName = "abc." + probeLabels + "cluster.local."

// lookAt returns a Check that has sent probeName.
func lookAt(ips ...string) (*Check, chan struct{}) {
	wake := make(chan struct{}, 1)
	var addrs []netip.Addr
	for _, ip := range ips {
		addrs = append(addrs, netip.MustParseAddr(ip))
	}
	l := New(nil, addrs, 53, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	l.seen[probeName] = 0
	return l, wake
}

// TestNote counts one question from one client, until that is a loop.
func TestNote(t *testing.T) {
	for _, tc := range []struct {
		name, from, question string
		qtype                uint16
		times                int
		loop                 bool
	}{
		{"once", "169.254.20.10", probeName, dns.TypeHINFO, 1, false},
		{"came back once", "169.254.20.10", probeName, dns.TypeHINFO, 2, false},
		{"came back twice", "169.254.20.10", probeName, dns.TypeHINFO, 3, true},
		{"over another address", "fd00:20::10", probeName, dns.TypeHINFO, 3, true},
		{"mapped", "::ffff:169.254.20.10", probeName, dns.TypeHINFO, 3, true},
		{"upper case", "169.254.20.10", strings.ToUpper(probeName), dns.TypeHINFO, 3, true},
		{"a pod", "10.244.0.7", probeName, dns.TypeHINFO, 100, false},
		{"another type", "169.254.20.10", probeName, dns.TypeTXT, 100, false},
		{"a client's name", "169.254.20.10", "www.example.", dns.TypeHINFO, 100, false},
		{"another process's probe", "169.254.20.10", "xyz." + probeLabels + "cluster.local.", dns.TypeHINFO, 100, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, wake := lookAt("169.254.20.10", "fd00:20::10")
			from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tc.from), 4711))
			own, last := false, false
			for range tc.times {
				own, last = l.Note(from, new(dns.Msg).SetQuestion(tc.question, tc.qtype))
			}
			if own != (tc.times < 100) {
				t.Errorf("a probe of this check: %t", own)
			}
			if found := l.Found(); last != tc.loop || (found != "") != tc.loop || len(wake) == 1 != tc.loop {
				t.Errorf("%t, %q, %d", last, found, len(wake))
			}
		})
	}
}

// TestLoopText is what a user reads.
func TestLoopText(t *testing.T) {
	for name, zone := range map[string]string{probeName: `zone "cluster.local."`, "abc." + probeLabels: `zone "."`} {
		l, _ := lookAt("169.254.20.10", "10.96.0.10")
		l.found = name
		if got := l.Found(); !strings.Contains(got, zone) || !strings.Contains(got, "(169.254.20.10 10.96.0.10)") {
			t.Error(got)
		}
	}
}

// TestRound receives what is sent, and nothing after the end.
func TestRound(t *testing.T) {
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	zones, addrs := []string{".", "cluster.local."}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	port := pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	l := New(zones, addrs, port, nil)
	l.Begin()
	l.Begin()
	names := map[string]bool{}
	for len(names) < probes*len(zones) {
		m := receive(t, pc, 10*time.Second)
		if m == nil {
			t.Fatalf("only %v", names)
		}
		q := m.Question[0]
		zone := zones[len(names)/probes]
		if _, rest, _ := strings.Cut(q.Name, "."); q.Qtype != dns.TypeHINFO || rest != probeLabels+strings.TrimPrefix(zone, ".") || names[q.Name] {
			t.Errorf("%s, want zone %s", q.String(), zone)
		}
		names[q.Name] = true
	}
	stopped := make(chan struct{})
	go func() { l.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(firstPause):
		t.Error("still waiting")
	}
	never := New(zones, addrs, port, nil)
	never.Stop()
	never.Begin()
	never.done.Wait()
	if m := receive(t, pc, 300*time.Millisecond); m != nil {
		t.Errorf("got %s", m)
	}
}

// receive returns nil if nothing comes in time.
func receive(t *testing.T, pc *net.UDPConn, timeout time.Duration) *dns.Msg {
	t.Helper()
	octets := make([]byte, 512)
	if err := pc.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	n, err := pc.Read(octets)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	m := new(dns.Msg)
	if err := errors.Join(err, m.Unpack(octets[:n])); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestZones(t *testing.T) {
	const corefile = `(snippet) {
    loop
}
cluster.local:53 svc.cluster.local:53 {
    loop
}
dns://10.in-addr.arpa {
    errors
}
10.244.0.0/16 {
    loop
}
. {
    import snippet
}
`
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Zones(blocks), []string{"cluster.local.", "244.10.in-addr.arpa.", "."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
