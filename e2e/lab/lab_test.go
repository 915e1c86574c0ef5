// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// everyClient is the probes at one rate from pod and host, over both protocols and with all kinds of sockets.
func everyClient(l *Lab, interval time.Duration) []Probe {
	var probes []Probe
	for _, from := range []*Namespace{l.Pod, l.Node} {
		for _, p := range []Probe{{Socket: Fresh}, {Socket: Long}, {Socket: Unconnected}, {Socket: Fresh, TCP: true}, {Socket: Long, TCP: true}} {
			p.From, p.Interval, p.Target = from, interval, ClusterIP
			probes = append(probes, p)
			p.Target = ClusterIP6
			probes = append(probes, p)
		}
	}
	return probes
}

// TestProbe shows that the measuring instrument is right: it counts no failure where there is none, and each where the DNS
// is away.
func TestProbe(t *testing.T) {
	for _, backend := range Backends {
		t.Run(string(backend), func(t *testing.T) {
			l := New(t, backend)
			begin := time.Now()
			loads := StartAll(t, everyClient(l, 50*time.Millisecond)...)
			fast := Probe{From: l.Pod, Target: ClusterIP, Interval: 5 * time.Millisecond, Name: Unique("fast")}.Start(t)
			answered(t, append(loads, fast), 35)
			answered(t, []*Load{fast}, 265)
			reports := StopAll(append(loads, fast))
			due := time.Since(begin)
			for i, r := range reports {
				interval := append(loads, fast)[i].Interval
				if len(r.Failures) > 0 || r.Gap > time.Second || r.Sent > 1+int(due/interval) {
					t.Errorf("in %v: %s", due, r)
				}
			}
			r := reports[len(loads)]
			Until(t, time.Second, "log of all queries", func() error {
				if n := len(l.ClusterDNS.Seen(".fast.")); n != r.Sent {
					return fmt.Errorf("%d of %d", n, r.Sent)
				}
				return nil
			})
		})
	}
}

func TestProbeFails(t *testing.T) {
	l := New(t, IPTablesNFT)
	probes := everyClient(l, 100*time.Millisecond)
	for i := range probes {
		probes[i].Timeout = 300 * time.Millisecond
	}
	for _, how := range []struct {
		name string
		stop func()
	}{
		{"stopped", func() { l.ClusterDNS.Freeze(t) }},
		{"killed", func() { l.ClusterDNS.Signal(t, syscall.SIGKILL); l.ClusterDNS.Wait(t, time.Second) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			how.stop()
			loads := StartAll(t, probes...)
			<-time.After(time.Second)
			for _, r := range StopAll(loads) {
				if r.Sent < 5 || r.Answered() > 0 || r.Gap < time.Second {
					t.Error(r)
				}
			}
		})
	}
}

// TestProbeRecovers shows that an outage is seen at its length and not beyond it.
func TestProbeRecovers(t *testing.T) {
	l := New(t, IPTablesNFT)
	probes := everyClient(l, 50*time.Millisecond)
	for i := range probes {
		probes[i].Timeout = 500 * time.Millisecond
	}
	loads := StartAll(t, probes...)
	<-time.After(300 * time.Millisecond)
	l.ClusterDNS.Freeze(t)
	<-time.After(time.Second)
	l.ClusterDNS.Signal(t, syscall.SIGCONT)
	resumed := time.Now()
	<-time.After(time.Second)
	for _, r := range StopAll(loads) {
		if r.Sent < 40 || len(r.Failures) < 5 || r.Gap < 900*time.Millisecond || r.Gap > 1700*time.Millisecond {
			t.Error(r)
		}
		if late := r.In(Window{resumed.Add(300 * time.Millisecond), time.Now()}); len(late.Failures) > 0 {
			t.Errorf("failures after the end of the outage: %s", late)
		}
	}
}

func TestClusterDNS(t *testing.T) {
	l := New(t, NFTables)
	ptr6, err := dns.ReverseAddr("fd00:96::77")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		qtype   uint16
		rcode   int
		answers int
	}{
		{"web.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"web.default.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, dns.RcodeSuccess, 1},
		{"dns-version.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, 1},
		{"alias1.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 4},
		{"anything.wild.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"big.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, BigRecords},
		{"any.slow.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1},
		{"absent.cluster.local.", dns.TypeA, dns.RcodeNameError, 0},
		{"7.7.96.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, 1},
		{ptr6, dns.TypePTR, dns.RcodeSuccess, 1},
		{"www.example.org.", dns.TypeA, dns.RcodeSuccess, 1},
		{"absent.test.", dns.TypeA, dns.RcodeNameError, 0},
	} {
		m, err := l.Pod.Ask(Query{Server: Port53(ClusterIP6), TCP: true, Name: tc.name, Type: tc.qtype})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if m.Rcode != tc.rcode || len(m.Answer) != tc.answers {
			t.Errorf("%s %s: %s", dns.TypeToString[tc.qtype], tc.name, m)
		}
		Until(t, time.Second, "log of "+tc.name, func() error {
			want := Seen{tc.name, dns.TypeToString[tc.qtype], "tcp", PodIP6}
			if !slices.Contains(l.ClusterDNS.Seen(tc.name), want) {
				return fmt.Errorf("not %v", want)
			}
			return nil
		})
	}
	if len(l.Conntrack(t, ClusterIP6)) == 0 {
		t.Error("no connection to the ClusterIP is tracked")
	}
	l.ForgetConntrack(t)
	if c := l.Conntrack(t, ClusterIP6, ClusterIP); len(c) > 0 {
		t.Errorf("still tracked: %s", c)
	}
}

// TestLocalPort shows that flows to several addresses can share a port, and that each gets its own answers.
func TestLocalPort(t *testing.T) {
	l := New(t, NFTables)
	const port = 20053
	targets := []netip.Addr{ClusterIP, UpstreamIP, ClusterIP6, UpstreamIP6}
	var loads []*Load
	for _, target := range targets {
		for _, tcp := range []bool{false, true} {
			name := Unique(fmt.Sprintf("port%d", len(loads)))
			p := Probe{From: l.Pod, Target: target, TCP: tcp, Socket: Long, LocalPort: port, Name: name, Interval: 20 * time.Millisecond}
			loads = append(loads, p.Start(t))
			answered(t, loads[len(loads)-1:], 1) // two first packets at a time may be mapped to one port, and one of them dropped
		}
	}
	answered(t, loads, 10)
	for _, target := range targets {
		flows := strings.Join(l.Conntrack(t, target), "\n")
		if n := strings.Count(flows, fmt.Sprintf(" sport=%d ", port)); n != 2 {
			t.Errorf("%d flows from port %d to %s:\n%s", n, port, target, flows)
		}
	}
	for _, r := range StopAll(loads) {
		if len(r.Failures) > 0 {
			t.Error(r)
		}
	}
}

// TestNextLocalPort shows that a TCP connection from a fixed port can be made anew, and that a UDP socket stays.
func TestNextLocalPort(t *testing.T) {
	l := New(t, NFTables)
	const port = 20053
	from := func(port int) string { return fmt.Sprintf("sport=%d dport=53", port) }
	p := Probe{From: l.Pod, Target: ClusterIP, Socket: Long, LocalPort: port, Timeout: 500 * time.Millisecond}
	udp := p.Start(t)
	p.TCP = true
	tcp := p.Start(t)
	answered(t, []*Load{udp, tcp}, 5)
	tcp.channel.mu.Lock()
	tcp.channel.conn.Close()
	tcp.channel.mu.Unlock()
	answered(t, []*Load{udp, tcp}, 5)
	flows := strings.Join(l.Conntrack(t, ClusterIP), "\n")
	if strings.Count(flows, from(port)) != 2 || strings.Count(flows, from(port+1)) != 1 {
		t.Errorf("flows from ports %d and %d:\n%s", port, port+1, flows)
	}
	if r := tcp.Stop(); len(r.Failures) > 1 {
		t.Error(r)
	}
	if r := udp.Stop(); len(r.Failures) > 0 {
		t.Error(r)
	}
}

// answered waits until each load has n more answers.
func answered(t *testing.T, loads []*Load, n int) {
	t.Helper()
	want := make([]int, len(loads))
	for i, load := range loads {
		want[i] = load.SoFar().Answered() + n
	}
	for i, load := range loads {
		Until(t, 5*time.Second, fmt.Sprintf("%d more answers to %s", n, load), func() error {
			if r := load.SoFar(); r.Answered() < want[i] {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}

// TestIgnore has a program print to somebody who does not read: it stands still until it is read again.
func TestIgnore(t *testing.T) {
	n := NewNamespace(t, "printer")
	loud := n.Start(t, Command{Path: "/bin/sh", Args: []string{"-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"}})
	loud.WaitOutput(t, 5*time.Second, "2")
	listen := loud.Ignore(t)
	had := loud.lastLine()
	<-time.After(200 * time.Millisecond) // the measurement
	if now := loud.lastLine(); now != had {
		t.Errorf("%q was read after %q", now, had)
	}
	call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", loud.Pid()))
	if err != nil || !strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_WRITE)) {
		t.Errorf("it is not in write(2): %q, %v", call, err)
	}
	listen()
	Until(t, 5*time.Second, "next line", func() error {
		if now := loud.lastLine(); now == had {
			return fmt.Errorf("still %q", now)
		}
		return nil
	})
}

func (p *Process) lastLine() string { return tail(p.Output(), 1) }
