// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// floodTargets are the node's addresses in the pod's two subnets, with the pod's own.
var floodTargets = []struct{ node, pod netip.Addr }{
	{netip.MustParseAddr("10.244.1.1"), lab.PodIP},
	{netip.MustParseAddr("fd00:244:1::1"), lab.PodIP6},
}

// listenUDP opens a port 53 of the node.
func listenUDP(t *testing.T, l *lab.Lab, at netip.Addr) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := l.Node.Run(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(client.Port53(at)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestFlood reads what comes of a flood: whole questions, one from each source in turn, at the rate that was asked for.
func TestFlood(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	for _, target := range floodTargets {
		conn := listenUDP(t, l, target.node)
		sources := append(client.Absent(target.pod, 9), target.pod)
		flood := client.Flood{From: l.Pod, Target: target.node, Sources: sources, Rate: 200, Payload: client.One("hot.wild.cluster.local.", dns.TypeA)}
		begin, b := time.Now(), make([]byte, 1500)
		g := flood.Start(t)
		for i := range 100 {
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(b[:n]); err != nil || m.Id != uint16(i) || m.Question[0].Name != "hot.wild.cluster.local." {
				t.Errorf("packet %d: %v\n%s", i, err, m)
			}
			if from.Addr().Unmap() != sources[i%len(sources)] {
				t.Errorf("packet %d is from %s", i, from)
			}
		}
		if took := time.Since(begin); took < 400*time.Millisecond {
			t.Errorf("100 packets took %s at 200 a second", took)
		}
		if sent := g.Stop(t); sent < 100 {
			t.Errorf("%d packets sent, and 100 received", sent)
		}
	}
}

// TestFloodSpeed checks that a flood without a rate is one: in one second of ten at the latest, if others need the CPUs.
func TestFloodSpeed(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	for _, target := range floodTargets {
		listenUDP(t, l, target.node)
		g := client.Flood{From: l.Pod, Target: target.node, Sources: client.Absent(target.pod, 100), Payload: client.NewNames(1, "wild.cluster.local.")}.Start(t)
		most := 0.0
		for range 10 {
			begin, had := time.Now(), g.Sent()
			<-time.After(time.Second) // the measurement
			if most = max(most, float64(g.Sent()-had)/time.Since(begin).Seconds()); most >= 20000 {
				break
			}
		}
		g.Stop(t)
		t.Logf("%.0f packets a second to %s", most, target.node)
		if most < 20000 {
			t.Errorf("%.0f packets a second to %s", most, target.node)
		}
	}
}

// TestPayloads checks the form of each message.
func TestPayloads(t *testing.T) {
	const name = "hot.wild.cluster.local."
	for _, p := range []struct {
		what    string
		payload client.Payload
		check   func(m *dns.Msg, size int, err error) bool
	}{
		{"one", client.One(name, dns.TypeANY), func(m *dns.Msg, _ int, err error) bool { return err == nil && m.Question[0].Qtype == dns.TypeANY }},
		{"malformed cookies", client.Malformed(name), func(m *dns.Msg, _ int, err error) bool { return err == nil && len(m.IsEdns0().Option) == 1 }},
		{"two questions", client.TwoQuestions(name), func(m *dns.Msg, _ int, err error) bool { return err == nil && len(m.Question) == 2 }},
		{"cut", client.Cut(name), func(_ *dns.Msg, _ int, err error) bool { return err != nil }},
		{"huge", client.Huge(name), func(m *dns.Msg, size int, err error) bool { return err == nil && size == 1400 }},
		{"noise", client.Noise(1), func(m *dns.Msg, size int, _ error) bool { return size >= 12 && size < 76 && !m.Response }},
		{"new", client.NewNames(1, "wild.cluster.local."), func(m *dns.Msg, _ int, err error) bool {
			return err == nil && dns.IsSubDomain("wild.cluster.local.", m.Question[0].Name) && dns.CountLabel(m.Question[0].Name) == 4
		}},
	} {
		first, second := p.payload(nil, 0), p.payload([]byte("head"), 1)[4:]
		for _, message := range [][]byte{first, second} {
			m := new(dns.Msg)
			err := m.Unpack(message)
			if !p.check(m, len(message), err) {
				t.Errorf("%s: %d octets, %v\n%s", p.what, len(message), err, m)
			}
		}
		if string(first) == string(second) {
			t.Errorf("%s: two messages are the same", p.what)
		}
	}
}

// TestCrowd counts the connections that a listener accepts.
func TestCrowd(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	at := floodTargets[0].node
	for _, manners := range []client.Manners{client.Idle, client.Dripping, client.Greedy, client.Hasty} {
		var listener net.Listener
		err := l.Node.Run(func() (err error) {
			listener, err = net.Listen("tcp", client.Port53(at).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		g := client.Crowd{From: l.Pod, Target: at, Size: 20, Manners: manners}.Start(t)
		harness.Until(t, 20*time.Second, string(manners)+" connections", func() error {
			if n := g.Made(); n < 20 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		if manners != client.Hasty {
			harness.Until(t, 20*time.Second, "open ones", func() error {
				if n := g.Open(); n != 20 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
		}
		if made := g.Stop(); made < 20 || g.Open() != 0 {
			t.Errorf("%s: %d made, %d left", manners, made, g.Open())
		}
		listener.Close()
	}
}
