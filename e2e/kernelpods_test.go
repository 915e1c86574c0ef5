// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// A sender sends queries as frames, and sees what comes back.
type sender struct {
	*client.Frames
	toMAC net.HardwareAddr
	query []byte
}

// senderAt is one at an interface of a namespace, whose other end is near on the node. No socket of the namespace gets the answers.
func senderAt(t *testing.T, l *lab.Lab, n *netns.Namespace, device, near string) *sender {
	t.Helper()
	link, err := l.Node.Netlink.LinkByName(near)
	if err != nil {
		t.Fatal(err)
	}
	return &sender{client.OpenFrames(t, n, device), link.Attrs().HardwareAddr, packed(t, busyName)}
}

// packed is a query for an address of a name.
func packed(t *testing.T, name string) []byte {
	t.Helper()
	query, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return query
}

// quiet has a namespace drop DNS answers, in place of a port unreachable.
func quiet(t *testing.T, n *netns.Namespace) {
	t.Helper()
	n.Exec(t, "table inet quiet {\n chain input {\n type filter hook input priority 0;\n udp sport 53 drop\n }\n}\n", "nft", "-f", "-")
}

// ask sends a query with a source address. It returns whether an answer came within the time, and whether the program made it.
func (s *sender) ask(t *testing.T, from netip.Addr, wait time.Duration) (answered, inKernel bool) {
	t.Helper()
	if err := s.Send(client.Datagram(s.MAC, s.toMAC, netip.AddrPortFrom(from, 20053), client.Port53(lab.LinkLocal), s.query)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(wait); ; {
		f, err := s.Receive(end)
		if err != nil {
			return false, false
		}
		if f.IsDNS() {
			return true, !f.Local
		}
	}
}

// lastInKernel asks for a while, and returns when the program's last answer came, from the begin.
func (s *sender) lastInKernel(t *testing.T, from netip.Addr, watched time.Duration) (last time.Duration) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < watched; time.Sleep(5 * time.Millisecond) {
		if _, inKernel := s.ask(t, from, 50*time.Millisecond); inKernel {
			last = time.Since(begin)
		}
	}
	return last
}

// TestKernelInterface takes a pod's interface down and up, and has it go and return.
func TestKernelInterface(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)})
	pod := l.NewPod(t, "moving", 30)
	again := func() {
		t.Helper()
		loads := client.StartAll(t, hot([]*netns.Namespace{pod}, lab.LinkLocal)...)
		waitKernelHits(t, c, lab.LinkLocal)
		stop(t, loads) // the first queries may be lost while the pod's network comes up
	}
	again()
	l.Node.Exec(t, "", "ip", "link", "set", "veth-moving", "down")
	l.Node.Exec(t, "", "ip", "link", "set", "veth-moving", "up")
	again()
	for range 2 {
		l.Node.Exec(t, "", "ip", "link", "del", "veth-moving")
		netns.Join(t, l.Node, "veth-moving", []string{"10.244.30.1/24"}, pod, []string{"10.244.30.2/24"})
		again()
	}
	if n := linksOf(t, c); n > 3 {
		t.Errorf("%d programs are attached", n)
	}
}

// TestKernelSpoof has pods send queries with the address of another pod, which is answered in the kernel: from an interface of their own,
// without rp_filter, and from another port of the same bridge. They get no answers. With their own addresses they get some.
func TestKernelSpoof(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	bridged, bridgedIP := l.NewPodOn(t, lab.Bridge), netip.MustParseAddr("10.244.5.20")
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)})
	apart, neighbour := l.NewPod(t, "apart", 30), netns.New(t, "neighbour")
	netns.Join(t, l.Node, "veth-b", nil, neighbour, []string{"10.244.5.9/24"})
	l.Node.Exec(t, "", "ip", "link", "set", "veth-b", "master", "cni0")
	neighbour.Exec(t, "", "ip", "route", "add", "default", "via", "10.244.5.1")
	for _, name := range []string{"all", "veth-apart", "cni0"} {
		l.Node.Sysctl(t, "net.ipv4.conf."+name+".rp_filter", "0")
	}
	loads := client.StartAll(t, hot([]*netns.Namespace{l.Pod, bridged}, lab.LinkLocal)...)
	waitKernelHits(t, c, lab.LinkLocal)
	bridge, err := l.Node.Netlink.LinkByName("cni0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from         *netns.Namespace
		near         string
		own, another netip.Addr
	}{
		{apart, "veth-apart", netip.MustParseAddr("10.244.30.2"), lab.PodIP},
		{neighbour, "veth-b", netip.MustParseAddr("10.244.5.9"), bridgedIP},
	} {
		quiet(t, c.from)
		s := senderAt(t, l, c.from, "eth0", c.near)
		if c.near == "veth-b" {
			s.toMAC = bridge.Attrs().HardwareAddr
		}
		for i := range 50 {
			if answered, inKernel := s.ask(t, c.another, 30*time.Millisecond); answered {
				t.Errorf("%s: query %d with the address of another pod was answered, in the kernel: %v", c.near, i, inKernel)
			}
		}
		harness.Until(t, 10*time.Second, "an answer of the program to the pod's own address", func() error {
			if answered, inKernel := s.ask(t, c.own, 50*time.Millisecond); !inKernel {
				return fmt.Errorf("answered %v", answered)
			}
			return nil
		})
	}
	noFailure(t, stop(t, loads))
}

// TestKernelTwoInstances has two instances with the program, as an update with surge does. Whichever goes, the other's answers.
func TestKernelTwoInstances(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	o := options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)}
	first := start(t, l, o)
	loads := client.StartAll(t, hot([]*netns.Namespace{l.Pod, l.Node}, ipv4...)...)
	waitKernelHits(t, first, lab.LinkLocal)
	o.metrics = 9254
	second := start(t, l, o)
	bothServe(t, first, second)
	first.term(t)
	waitKernelHits(t, second, lab.LinkLocal)
	first = first.again(t)
	bothServe(t, first, second)
	progress(t, loads, 20)
	killed := second.kill(t)
	waitKernelHits(t, first, lab.ClusterIP)
	first.waitSteering(t, true, 5*time.Second)
	inFlightOnly(t, stop(t, loads), loads, []client.Window{killed})
}

// TestKernelMemory has one pod ask for as many names as the program has room for. Process and program take less than 20 MB more than a
// process without the program.
func TestKernelMemory(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	rss := map[string]float64{}
	for name, base := range map[string]string{"with": inKernel(ipv4), "without": fourBlocks(ipv4)} {
		l := lab.New(t, lab.NFTables)
		if base = strings.Replace(base, "admit 1s", "admit 1m\n        ttl 1h\n        size 33554432", 1); name == "without" {
			base = strings.Replace(base, "    packetcache\n", "    packetcache {\n        ttl 1h\n        size 33554432\n    }\n", 1)
		}
		base += strings.NewReplacer("ADDRESSES", strings.ReplaceAll(join(ipv4), ",", " "), " 60 IN", " 86400 IN").Replace(sameBlock)
		c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: base})
		const places, names = 16384, 30000 // more names than places, since not all buckets get their share
		flood := client.Flood{
			From: l.Pod, Target: lab.LinkLocal, Sources: []netip.Addr{lab.PodIP}, Rate: 10000,
			Payload: client.Names(func(i int) string { return fmt.Sprintf("a1.n%d.same.test.", i%names) }),
		}
		flooding := flood.Start(t)
		harness.Until(t, time.Minute, "queries of each name", func() error {
			if n := flooding.Sent(); n < 5*names || name == "with" && c.counter(t, kernelHits) < places {
				return fmt.Errorf("%d queries", n)
			}
			return nil
		})
		hits := c.counter(t, kernelHits)
		flooding.Stop(t)
		rss[name] = c.metric(t, "process_resident_memory_bytes") / 1e6
		t.Logf("%s: %.1f MB, %g hits in the kernel", name, rss[name], hits)
		if (hits > 0) != (name == "with") {
			t.Errorf("%s: %g hits in the kernel", name, hits)
		}
		c.term(t)
	}
	if more := rss["with"] - rss["without"]; more > 20 {
		t.Errorf("%.1f MB more", more)
	}
}
