// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// inKernel is the template whose hits are answered in the kernel, for clients that have been admitted for a second at most.
func inKernel(addrs []netip.Addr) string {
	return strings.Replace(fourBlocks(addrs), "    packetcache\n", "    packetcache {\n        kernel\n        admit 1s\n    }\n", 1)
}

// kernelHits is the metric of hits that were answered in the kernel.
const kernelHits = "coredns_packetcache_kernel_hits_total"

// busyName is a name that clients ask for again and again.
const busyName = "web.default.svc.cluster.local."

// hot are clients that ask for one name 200 times a second: in pods and on the host.
func hot(from []*netns.Namespace, addrs ...netip.Addr) (probes []client.Probe) {
	for _, n := range from {
		for _, a := range addrs {
			for _, socket := range []client.Socket{client.Fresh, client.Unconnected} {
				probes = append(probes, client.Probe{
					From: n, Target: a, Socket: socket, Interval: either(5*time.Millisecond, 500*time.Millisecond), Timeout: impatience,
					Name: func(int) string { return busyName },
				})
			}
		}
	}
	return probes
}

// waitKernelHits waits for hits in the kernel at an address.
func waitKernelHits(t *testing.T, c *cache, a netip.Addr) {
	t.Helper()
	server := fmt.Sprintf("server=%q", "dns://"+client.Port53(a).String())
	before := c.counter(t, kernelHits, server)
	harness.Until(t, 10*time.Second, fmt.Sprintf("hits in the kernel at %s", a), func() error {
		if n := c.counter(t, kernelHits, server) - before; n < 100 {
			return fmt.Errorf("%g", n)
		}
		return nil
	})
}

// TestHitsInKernel has hits be answered in the kernel, of a pod with a veth, of one on a bridge, and of the host. They go on while
// the cache ends and starts, is killed, and hangs, as without the kernel's part.
func TestHitsInKernel(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	from := []*netns.Namespace{l.Pod, l.NewPodOn(t, lab.Bridge), l.Node}
	for _, n := range from { // each is answered in the kernel
		t.Run(n.Name, func(t *testing.T) { onlyFrom(t, l, n) })
	}
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: inKernel(dual)})
	loads := client.StartAll(t, hot(from, dual...)...)
	waitAll := func() {
		for _, a := range dual {
			waitKernelHits(t, c, a)
		}
	}
	waitAll()
	c.term(t)
	progress(t, loads, 20)
	c = c.again(t)
	waitAll()
	killed := c.kill(t)
	progress(t, loads, 20)
	c = c.again(t)
	waitAll()
	begin := time.Now()
	c.Freeze(t)
	progress(t, loads, either(1000, 20))
	c.Signal(t, syscall.SIGCONT)
	end := time.Now()
	c.waitSteering(t, true, againTimeout)
	waitAll()
	var before, after []client.Report
	for _, r := range stop(t, loads) {
		before = append(before, r.In(client.Window{End: begin.Add(-inFlight)}))
		after = append(after, r.Outside(client.Window{End: begin.Add(-inFlight)}))
	}
	inFlightOnly(t, before, loads, []client.Window{killed})
	for i := range after { // of a burst in the moment of the recovery one failure counts: these clients ask ten times as often as others
		after[i].Failures = slices.CompactFunc(after[i].Failures, func(a, b client.Failure) bool { return a.At.Sub(b.At).Abs() < inFlight/2 })
	}
	outage(t, after, begin, end)
}

// onlyFrom checks that the hits of one party are answered in the kernel at each address.
func onlyFrom(t *testing.T, l *lab.Lab, n *netns.Namespace) {
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: inKernel(dual)})
	for _, a := range dual {
		loads := client.StartAll(t, hot([]*netns.Namespace{n}, a)...)
		waitKernelHits(t, c, a)
		noFailure(t, stop(t, loads))
	}
	c.term(t)
}

// movingBlock is a server block for a name with the given address.
func movingBlock(addrs []netip.Addr, ip string) string {
	return fmt.Sprintf("moving.test:53 {\n    packetcache\n    bind %s\n    prometheus __PROMETHEUS__ENDPOINT__\n    template IN A {\n        answer \"{{ .Name }} 60 IN A %s\"\n    }\n}\n",
		strings.ReplaceAll(join(addrs), ",", " "), ip)
}

// movingAddr is the record's number n.
func movingAddr(n int) string { return fmt.Sprintf("198.51.100.%d", n) }

// TestKernelForgets changes a record in a reload: no client gets the old one a second after that.
func TestKernelForgets(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	base := inKernel(dual)
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: base + movingBlock(dual, movingAddr(0))})
	var reloaded [5]atomic.Int64 // when the record's number became the newest, in ns; 0: not yet
	probes := hot([]*netns.Namespace{l.Pod, l.Node}, dual...)
	for i := range probes {
		probes[i].Timeout = patience
		probes[i].Name = func(int) string { return "www.moving.test." }
		probes[i].Check = func(m *dns.Msg) error {
			if len(m.Answer) != 1 {
				return errors.New("no answer")
			}
			got := m.Answer[0].(*dns.A).A.To4()[3]
			for n := int(got) + 1; n < len(reloaded); n++ {
				at := reloaded[n].Load()
				if age := time.Since(time.Unix(0, at)); at != 0 && age > 1500*time.Millisecond {
					return fmt.Errorf("record %d, %s after it was replaced", got, age)
				}
			}
			return nil
		}
	}
	loads := client.StartAll(t, probes...)
	for i := 1; i < len(reloaded); i++ {
		for _, a := range dual {
			waitKernelHits(t, c, a)
		}
		reloads := c.metric(t, "coredns_nodelocal_config_reloads_total", `result="success"`)
		c.setBase(t, base+movingBlock(dual, movingAddr(i)))
		c.waitMetric(t, 10*time.Second, reloads+1, "coredns_nodelocal_config_reloads_total", `result="success"`)
		reloaded[i].Store(time.Now().UnixNano())
		progress(t, loads, 400) // for two seconds
	}
	noFailure(t, stop(t, loads))
}

// TestKernelAdmits denies a pod DNS by the host's firewall, as a NetworkPolicy does. A second (`admit`) after the rule the kernel answers
// the pod no more. Without the rule the answers go on. Another pod is answered all the time.
func TestKernelAdmits(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)})
	other := l.NewPod(t, "other", 9)
	harness.Until(t, 10*time.Second, "an answer to the other pod, whose network has just come up", func() error {
		_, err := client.Ask(other, client.Query{Server: client.Port53(lab.LinkLocal), Name: busyName, Type: dns.TypeA})
		return err
	})
	var last atomic.Int64
	probes := hot([]*netns.Namespace{l.Pod}, ipv4...)
	for i := range probes {
		probes[i].Also = func(_ int, at time.Time) { last.Store(at.UnixNano()) }
	}
	denied := client.StartAll(t, probes...)
	allowed := client.StartAll(t, hot([]*netns.Namespace{other}, ipv4...)...)
	for _, a := range ipv4 {
		waitKernelHits(t, c, a)
	}
	if at, ended := lastAnswer(&last, 5*time.Second); ended {
		t.Fatalf("the answers ended at %s without a rule", clock(at))
	}
	l.Node.Exec(t, "table inet denied {\n chain input {\n type filter hook input priority -10;\n ip saddr 10.244.1.2 udp dport 53 drop\n }\n}\n", "nft", "-f", "-")
	ruled := time.Now()
	if at, ended := lastAnswer(&last, 10*time.Second); !ended || at.Sub(ruled) > 1500*time.Millisecond {
		t.Errorf("ended: %v; the last answer came %s after the rule", ended, at.Sub(ruled))
	} else {
		t.Logf("answered until %s after the rule", at.Sub(ruled))
	}
	stop(t, denied)
	progress(t, allowed, 50)
	noFailure(t, stop(t, allowed))
}

// lastAnswer waits until no answer has come for 2 s, and no longer than patience. It returns the time of the last answer, and whether the
// answers have ended.
func lastAnswer(last *atomic.Int64, patience time.Duration) (at time.Time, ended bool) {
	for end := time.Now().Add(patience); !ended && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		at = time.Unix(0, last.Load())
		ended = time.Since(at) > 2*time.Second
	}
	return at, ended
}

// TestKernelFrozen stops the process. Its answers and the pod's admission would be good for a minute, but the kernel gives no answer later
// than 2 s after the stop: somebody else may have the address by then. Of a process that runs the answers go on.
func TestKernelFrozen(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	block := strings.NewReplacer("ADDRESSES", strings.ReplaceAll(join(ipv4), ",", " "), " 60 IN", " 86400 IN").Replace(sameBlock)
	base := strings.Replace(inKernel(ipv4), "admit 1s", "admit 1m\n        ttl 1m", 1) + block
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: base})
	quiet(t, l.Pod)
	s := senderAt(t, l, l.Pod, "eth0", "veth-pod")
	s.query = packed(t, "a1.same.test.")
	again := func() {
		t.Helper()
		harness.Until(t, againTimeout, "an answer of the program", func() error {
			if answered, inKernel := s.ask(t, lab.PodIP, 50*time.Millisecond); !inKernel {
				return fmt.Errorf("answered %v", answered)
			}
			return nil
		})
	}
	for range 2 {
		again()
		const watched = 4 * time.Second
		if last := s.lastInKernel(t, lab.PodIP, watched); last < watched-time.Second {
			t.Errorf("the program's last answer came after %s, while the process runs", last)
		}
		c.Freeze(t)
		last := s.lastInKernel(t, lab.PodIP, watched)
		if t.Logf("answered until %s after the stop", last); last > 2200*time.Millisecond {
			t.Errorf("answered %s after the stop", last)
		}
		c.Signal(t, syscall.SIGCONT)
	}
}

// TestKernelTop has one pod of three ask for one name all the time, answered in the kernel. top names the pod first, with the name.
func TestKernelTop(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l, state := lab.New(t, lab.NFTables), harness.Dir(t)+"/state"
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4), args: []string{"-statedir", state}})
	var others []client.Probe
	for i := range 2 {
		others = append(others, ordinary(l.NewPod(t, fmt.Sprintf("other%d", i), byte(20+i)), i)...)
	}
	loads := client.StartAll(t, others...)
	progress(t, loads, 4)
	flood := client.Flood{From: l.Pod, Target: lab.ClusterIP, Sources: []netip.Addr{lab.PodIP}, Rate: 5000, Payload: client.One(busyName, dns.TypeA)}
	flooding := flood.Start(t)
	waitKernelHits(t, c, lab.ClusterIP)
	var b busiest
	found := harness.Until(t, foundWithin, "name of the flood", func() error {
		b = c.top(t, state)
		if len(b.Clients) < 3 || b.Clients[0].Address != lab.PodIP || b.Clients[0].Name != busyName || b.Names[0].Name != busyName {
			return fmt.Errorf("%+v, %+v", b.Clients, b.Names)
		}
		return nil
	})
	kernel, all := c.counter(t, kernelHits), c.counter(t, "coredns_packetcache_hits_total")
	t.Logf("found after %s: %s", found, describe(b, client.StopAll(loads)))
	if flooding.Stop(t); kernel < all/2 {
		t.Errorf("%g of %g hits were in the kernel", kernel, all)
	}
	if first := b.Clients[0]; first.NXDomain > 0 || first.Queries < b.Queries/2 || b.Names[0].Queries < b.Queries/2 {
		t.Errorf("first is %+v, %+v of %d queries", first, b.Names[0], b.Queries)
	}
}
