// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

func TestMain(m *testing.M) { harness.Main(m) }

// everyClient is the probes at one rate from pod and host, over both protocols and with all kinds of sockets.
func everyClient(l *lab.Lab, interval time.Duration) []client.Probe {
	var probes []client.Probe
	for _, from := range []*netns.Namespace{l.Pod, l.Node} {
		for _, p := range []client.Probe{{Socket: client.Fresh}, {Socket: client.Long}, {Socket: client.Unconnected}, {Socket: client.Fresh, TCP: true}, {Socket: client.Long, TCP: true}} {
			p.From, p.Interval, p.Target = from, interval, lab.ClusterIP
			probes = append(probes, p)
			p.Target = lab.ClusterIP6
			probes = append(probes, p)
		}
	}
	return probes
}

// TestProbe shows that the measuring instrument is right: it counts no failure where there is none, and each where the DNS
// is away.
func TestProbe(t *testing.T) {
	for _, backend := range lab.Backends {
		t.Run(string(backend), func(t *testing.T) {
			l := lab.New(t, backend)
			begin := time.Now()
			loads := client.StartAll(t, everyClient(l, 50*time.Millisecond)...)
			fast := client.Probe{From: l.Pod, Target: lab.ClusterIP, Interval: 5 * time.Millisecond, Name: client.Unique("fast")}.Start(t)
			answered(t, append(loads, fast), 35)
			answered(t, []*client.Load{fast}, 265)
			reports := client.StopAll(append(loads, fast))
			due := time.Since(begin)
			for i, r := range reports {
				interval := append(loads, fast)[i].Interval
				if len(r.Failures) > 0 || r.Gap > time.Second+r.Stall || r.Sent > 1+int(due/interval) {
					t.Errorf("in %v: %s", due, r)
				}
			}
			r := reports[len(loads)]
			harness.Until(t, 10*time.Second, "log of all queries", func() error {
				if n := len(l.ClusterDNS.Seen(".fast.")); n != r.Sent {
					return fmt.Errorf("%d of %d", n, r.Sent)
				}
				return nil
			})
		})
	}
}

func TestProbeFails(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	probes := everyClient(l, 100*time.Millisecond)
	for i := range probes {
		probes[i].Timeout = 300 * time.Millisecond
	}
	for _, how := range []struct {
		name string
		stop func()
	}{
		{"stopped", func() { l.ClusterDNS.Freeze(t) }},
		{"killed", func() { l.ClusterDNS.Signal(t, syscall.SIGKILL); l.ClusterDNS.Wait(t, 10*time.Second) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			how.stop()
			loads := client.StartAll(t, probes...)
			<-time.After(time.Second)
			failed(t, loads, 5)
			for _, r := range client.StopAll(loads) {
				if r.Sent < 5 || r.Answered() > 0 || r.Gap < time.Second {
					t.Error(r)
				}
			}
		})
	}
}

// TestProbeRecovers shows that an outage is seen at its length and not beyond it.
func TestProbeRecovers(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	probes := everyClient(l, 50*time.Millisecond)
	for i := range probes {
		probes[i].Timeout = 500 * time.Millisecond
	}
	loads := client.StartAll(t, probes...)
	answered(t, loads, 5)
	frozen := time.Now()
	l.ClusterDNS.Freeze(t)
	<-time.After(time.Second)
	failed(t, loads, 5)
	l.ClusterDNS.Signal(t, syscall.SIGCONT)
	resumed := time.Now()
	answered(t, loads, 15)
	for _, r := range client.StopAll(loads) {
		if r.Gap < 900*time.Millisecond || r.Gap > resumed.Sub(frozen)+700*time.Millisecond+r.Stall {
			t.Errorf("an outage of %s: %s", resumed.Sub(frozen), r)
		}
		if late := r.In(client.Window{resumed.Add(300*time.Millisecond + r.Stall), time.Now()}); len(late.Failures) > 0 {
			t.Errorf("failures after the end of the outage: %s", late)
		}
	}
}

// TestLocalPort shows that flows to several addresses can share a port, and that each gets its own answers.
func TestLocalPort(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	const port = 20053
	targets := []netip.Addr{lab.ClusterIP, lab.UpstreamIP, lab.ClusterIP6, lab.UpstreamIP6}
	var loads []*client.Load
	for _, target := range targets {
		for _, tcp := range []bool{false, true} {
			name := client.Unique(fmt.Sprintf("port%d", len(loads)))
			p := client.Probe{From: l.Pod, Target: target, TCP: tcp, Socket: client.Long, LocalPort: port, Name: name, Interval: 20 * time.Millisecond}
			loads = append(loads, p.Start(t))
			answered(t, loads[len(loads)-1:], 1) // two first packets at a time may be mapped to one port, and one of them dropped
		}
	}
	answered(t, loads, 10)
	for _, target := range targets {
		flows := strings.Join(l.Node.Conntrack(t, target), "\n")
		if n := strings.Count(flows, fmt.Sprintf(" sport=%d ", port)); n != 2 {
			t.Errorf("%d flows from port %d to %s:\n%s", n, port, target, flows)
		}
	}
	for _, r := range client.StopAll(loads) {
		if len(r.Failures) > 0 {
			t.Error(r)
		}
	}
}

// TestNextLocalPort shows that a TCP connection from a fixed port can be made anew, and that a UDP socket stays.
func TestNextLocalPort(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	const port = 20053
	from := func(port int) string { return fmt.Sprintf("sport=%d dport=53", port) }
	p := client.Probe{From: l.Pod, Target: lab.ClusterIP, Socket: client.Long, LocalPort: port, Timeout: 500 * time.Millisecond}
	udp := p.Start(t)
	p.TCP = true
	tcp := p.Start(t)
	answered(t, []*client.Load{udp, tcp}, 5)
	tcp.Break()
	answered(t, []*client.Load{udp, tcp}, 5)
	flows := strings.Join(l.Node.Conntrack(t, lab.ClusterIP), "\n")
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
func answered(t *testing.T, loads []*client.Load, n int) {
	t.Helper()
	want := make([]int, len(loads))
	for i, load := range loads {
		want[i] = load.SoFar().Answered() + n
	}
	for i, load := range loads {
		harness.Until(t, 30*time.Second, fmt.Sprintf("%d more answers to %s", n, load), func() error {
			if r := load.SoFar(); r.Answered() < want[i] {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}

// failed waits until each load has had n failures in all.
func failed(t *testing.T, loads []*client.Load, n int) {
	t.Helper()
	for _, load := range loads {
		harness.Until(t, 30*time.Second, fmt.Sprintf("%d failures of %s", n, load), func() error {
			if r := load.SoFar(); len(r.Failures) < n {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}
