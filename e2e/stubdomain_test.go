// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// corp is a stub domain. Without it its names are answered outside, so that a client may ask for them all the time.
const corp = "corp.example.org"

// boundTo are the ways in which a template says where it listens.
var boundTo = []struct {
	name, bind string // bind: the line, empty if there is none
	addrs      []netip.Addr
}{
	{"both addresses", "bind 169.254.20.10 10.96.0.10", ipv4},
	{"one address", "bind 169.254.20.10", ipv4[:1]},
	{"all of IPv4", "bind 0.0.0.0", ipv4},
	{"all", "bind ::", dual},
	{"no bind", "", dual},
	{"the link", "bind nodelocaldns", ipv4},
}

// bound is the usual template with another bind line in each block.
func bound(line string) string {
	return strings.ReplaceAll(fourBlocks(ipv4), "bind 169.254.20.10 10.96.0.10", line)
}

// TestStubDomain has a stub domain in the kube-dns ConfigMap, with each way to bind the template: from the start, or added to a
// cache that serves. Its names are asked at its server, all other names are answered as before, without a moment's refusal, and
// the cache goes on to steer.
func TestStubDomain(t *testing.T) {
	for _, b := range boundTo {
		for _, when := range []string{"at start", "at run time"} {
			t.Run(b.name+"/"+when, func(t *testing.T) {
				t.Parallel()
				l := lab.New(t, lab.NFTables)
				dir := harness.Dir(t)
				if when == "at start" {
					addStub(t, dir)
				}
				c := start(t, l, options{firewall: lab.NFTables, addrs: b.addrs, base: bound(b.bind), args: []string{"-kubednscm", dir}})
				loads := askAll(t, l, b.addrs)
				addStub(t, dir)
				for _, a := range b.addrs {
					askedAtStub(t, l, a)
				}
				staysOn(t, c)
				progress(t, loads, 10)
				acceptedOnly(t, loads, stop(t, loads))
			})
		}
	}
}

// TestStubDomainWithoutNetwork is the same as Cilium's manifest has it: no link, no rules, all addresses.
func TestStubDomainWithoutNetwork(t *testing.T) {
	for _, when := range []string{"at start", "at run time"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.NFTables)
			dir := harness.Dir(t)
			if when == "at start" {
				addStub(t, dir)
			}
			launch(t, l, options{firewall: lab.NFTables, base: strings.ReplaceAll(bound("bind 0.0.0.0"), "169.254.20.10:8080", ":8080"), args: []string{
				"-kubednscm", dir, "-link", "none", "-firewall", "none"}})
			own := netip.MustParseAddr("10.244.1.1") // the node's, in the place of the pod's
			harness.Until(t, steeringTimeout, "the first answer", func() error {
				_, err := client.Ask(l.Pod, client.Query{Server: client.Port53(own), Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
				return err
			})
			loads := askAll(t, l, []netip.Addr{own})
			addStub(t, dir)
			askedAtStub(t, l, own)
			progress(t, loads, 10)
			acceptedOnly(t, loads, stop(t, loads))
		})
	}
}

// TestStubDomainOfTheSelfQuery has stub domains that are asked for the cache's questions to itself.
func TestStubDomainOfTheSelfQuery(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.NFTables)
	dir := harness.Dir(t)
	c := start(t, l, options{firewall: lab.NFTables, args: []string{"-kubednscm", dir}})
	before := c.counter(t, "coredns_nodelocal_config_reloads_total", `result="success"`)
	harness.Replace(t, dir+"/stubDomains", fmt.Sprintf(`{"nodelocaldns.cluster.local": [%q], "selfquery.nodelocaldns.cluster.local": [%q]}`, lab.DNSPodIP, lab.DNSPodIP))
	c.waitMetric(t, 10*time.Second, before+1, "coredns_nodelocal_config_reloads_total", `result="success"`)
	staysOn(t, c)
	if seen := l.ClusterDNS.Seen("selfquery"); len(seen) > 0 {
		t.Errorf("the server of the stub domain was asked for %s", seen[0].Name)
	}
}

// TestStubDomainThatIsSlow has a server that takes 1.5 s for each answer. Forward's own time is 2 s, and the template says
// nothing else.
func TestStubDomainThatIsSlow(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.NFTables)
	l.Slow.Delay(1500 * time.Millisecond)
	dir := harness.Dir(t)
	harness.Replace(t, dir+"/stubDomains", fmt.Sprintf(`{"slow.cluster.local": [%q]}`, lab.DNSPodIP))
	start(t, l, options{firewall: lab.NFTables, args: []string{"-kubednscm", dir}})
	n := 0
	harness.Until(t, 20*time.Second, "answer of the slow server", func() error { // some: the machine, too, may be slow
		n++
		m, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: upstream.SlowName("stub", n), Type: dns.TypeA, Timeout: 5 * time.Second})
		if err == nil && (m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1) {
			err = fmt.Errorf("%s", m)
		}
		return err
	})
}

// addStub puts corp into the ConfigMap, whose directory is given.
func addStub(t *testing.T, dir string) {
	t.Helper()
	harness.Replace(t, dir+"/stubDomains", fmt.Sprintf(`{%q: [%q]}`, corp, lab.DNSPodIP))
}

// askAll asks for new names of the cluster, of the world and of the stub domain at each address, 50 times a second each, and more
// slowly over TCP.
func askAll(t *testing.T, l *lab.Lab, addrs []netip.Addr) []*client.Load {
	t.Helper()
	const patience = 5 * time.Second // that of a C library: many of these stories run at a time
	var probes []client.Probe
	for i, a := range addrs {
		for _, zone := range []string{"wild.cluster.local", "world.example.org", corp} {
			name := func(n int) string { return fmt.Sprintf("u%d.c%d.%s.", n, i, zone) }
			probes = append(probes, client.Probe{From: l.Pod, Target: a, Interval: either(20*time.Millisecond, interval), Timeout: patience, Name: name},
				client.Probe{From: l.Node, Target: a, TCP: true, Interval: 4 * interval, Timeout: patience, Name: func(n int) string { return "tcp" + name(n) }})
		}
	}
	loads := client.StartAll(t, probes...)
	progress(t, loads, 4)
	return loads
}

// askedAtStub waits until names of corp are asked at its server, which is a pod of the cluster DNS, over UDP.
func askedAtStub(t *testing.T, l *lab.Lab, a netip.Addr) {
	t.Helper()
	n := 0
	harness.Until(t, either(10*time.Second, time.Minute), "the stub domain at "+a.String(), func() error {
		n++
		name := fmt.Sprintf("stub%d-%s.%s.", n, strings.NewReplacer(".", "-", ":", "-").Replace(a.String()), corp)
		m, err := client.Ask(l.Pod, client.Query{Server: client.Port53(a), Name: name, Type: dns.TypeA, Timeout: time.Second})
		if err != nil {
			return err
		}
		if seen := askedAt(l.ClusterDNS, name); m.Rcode != dns.RcodeSuccess || len(seen) != 1 || seen[0].Proto != "udp" {
			return fmt.Errorf("%s, asked at the cluster DNS: %v", dns.RcodeToString[m.Rcode], seen)
		}
		return nil
	})
}

// staysOn looks for four seconds, in which an address is taken out that answers no self-query, whether all are steered.
func staysOn(t *testing.T, c *cache) {
	t.Helper()
	failed := func() (n float64) {
		for _, a := range c.options.addrs {
			n += c.counter(t, "coredns_nodelocal_self_queries_total", fmt.Sprintf("address=%q", a), `result="failed"`)
		}
		return n
	}
	before := failed()
	<-time.After(4 * time.Second)
	c.waitSteering(t, true, againTimeout)
	if n := failed() - before; n > 1 { // one may be the machine's fault
		t.Errorf("%g rounds of self-queries failed", n)
	}
	if n := c.counter(t, "coredns_nodelocal_withdrawals_total", `reason="self_query"`); n > 0 {
		t.Errorf("steering went off %g times", n)
	}
}
