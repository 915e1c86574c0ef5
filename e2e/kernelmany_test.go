// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestKernelPodsComeAndGo has 250 pods at a time come, be answered in the kernel, and go.
func TestKernelPodsComeAndGo(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)})
	loads := client.StartAll(t, hot([]*netns.Namespace{l.Pod}, lab.LinkLocal)...)
	waitKernelHits(t, c, lab.LinkLocal)
	before := linksOf(t, c)
	for _, n := range []int{250, 30} {
		all := newPods(t, l, n)
		all.waitAnswers(t)
		if links := linksOf(t, c); links != before+n {
			t.Errorf("%d programs are attached, want %d and %d", links, before, n)
		}
		all.remove(t)
		harness.Until(t, 5*time.Second, "the end of the programs at interfaces that have gone", func() error {
			if n := linksOf(t, c); n != before {
				return fmt.Errorf("%d programs are attached, want %d", n, before)
			}
			return nil
		})
	}
	noFailure(t, stop(t, loads))
}

// TestKernelManyInterfaces has the program at the interfaces of 250 pods. The kernel takes seconds to detach the program
// from all. A reload leaves the program attached, and a moment later the program answers all pods again. A kill costs the queries in flight
// and no others.
func TestKernelManyInterfaces(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: ipv4, base: inKernel(ipv4)})
	loads := client.StartAll(t, hot([]*netns.Namespace{l.Pod}, lab.LinkLocal)...)
	all := newPods(t, l, 250)
	all.waitAnswers(t)
	links := linksOf(t, c)
	begin := time.Now()
	c.reload(t)
	reloaded := time.Now()
	all.waitAnswers(t)
	t.Logf("reloaded in %s, all answered %s later", reloaded.Sub(begin), time.Since(reloaded))
	if now := linksOf(t, c); now != links {
		t.Errorf("%d programs are attached after the reload, and %d before", now, links)
	}
	killed := c.kill(t)
	t.Logf("SIGKILL: %s", killed.End.Sub(killed.Begin))
	c = c.again(t)
	all.waitAnswers(t)
	begin = time.Now()
	c.term(t)
	t.Logf("SIGTERM: %s", time.Since(begin))
	inFlightOnly(t, stop(t, loads), loads, []client.Window{killed})
}

// manyPods are pods with an interface each. They share one namespace.
type manyPods struct {
	l       *lab.Lab
	senders map[int]*sender
}

func newPods(t *testing.T, l *lab.Lab, n int) *manyPods {
	t.Helper()
	all := netns.New(t, "pods")
	all.Sysctl(t, "net.ipv4.conf.all.rp_filter", "0")
	quiet(t, all)
	p := &manyPods{l, map[int]*sender{}}
	for i := 3; i < 3+n; i++ {
		near, far := fmt.Sprintf("veth-p%d", i), fmt.Sprintf("eth%d", i)
		netns.Join(t, l.Node, near, []string{fmt.Sprintf("10.244.%d.1/24", i)}, all, []string{p.addr(i).String() + "/24"})
		all.Exec(t, "", "ip", "link", "set", "eth0", "down")
		all.Exec(t, "", "ip", "link", "set", "eth0", "name", far, "up")
		p.senders[i] = senderAt(t, l, all, far, near)
	}
	return p
}

func (p *manyPods) addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, byte(i), 2}) }

// waitAnswers waits until each pod has had an answer of the program.
func (p *manyPods) waitAnswers(t *testing.T) {
	t.Helper()
	answered := map[int]bool{}
	harness.Until(t, 20*time.Second, "an answer of the program for each pod", func() error {
		for i, s := range p.senders {
			if !answered[i] {
				_, answered[i] = s.ask(t, p.addr(i), 20*time.Millisecond)
			}
		}
		for i := range p.senders {
			if !answered[i] {
				return fmt.Errorf("pod %d has none", i)
			}
		}
		return nil
	})
}

func (p *manyPods) remove(t *testing.T) {
	t.Helper()
	for i := range p.senders {
		link, err := p.l.Node.Netlink.LinkByName(fmt.Sprintf("veth-p%d", i))
		if err == nil {
			err = p.l.Node.Netlink.LinkDel(link)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// linksOf counts the BPF links of the cache's process.
func linksOf(t *testing.T, c *cache) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", c.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.Contains(to, "bpf_link") || strings.Contains(to, "bpf-link") {
			n++
		}
	}
	return n
}
