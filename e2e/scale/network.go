// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

const (
	clusterIP = "10.96.0.11"
	requests  = "coredns_dns_requests_total"
)

var serverAddr = client.Port53(lab.LinkLocal)

//go:embed Corefile
var template string

// corefile is the configuration of a cache with the plugins.
func (p plugins) corefile() string {
	upstream := fmt.Sprintf("forward . %s {\n        force_tcp\n    }", clusterIP)
	if p.Hedge {
		upstream = fmt.Sprintf("hedge . %s", clusterIP)
	}
	text := strings.Replace(template, "UPSTREAM", upstream, 1)
	if !p.Keep {
		text = strings.Replace(text, "    keep /run/nodelocaldns\n", "", 1)
	}
	if !p.Searchpath {
		text = strings.Replace(text, "    searchpath\n", "", 1)
	}
	return text
}

// cluster is a cluster DNS, which is one stock CoreDNS, and the nodes that ask it.
type cluster struct {
	model
	host    *harness.Host
	outside *netns.Namespace
	dns     *process.Process
	config  string
	asked   float64 // by earlier processes of the cluster DNS
	nodes   []*node
}

type node struct {
	*netns.Namespace
	cache  *process.Process
	config string
	load   *load
}

func newCluster(h *harness.Host, m model, nodes int) *cluster {
	c := &cluster{model: m, host: h, outside: netns.New(h, "cluster DNS")}
	c.outside.Configure(h, "lo", []string{clusterIP + "/32"})
	zone := harness.WriteFile(h, "zone", m.zone())
	c.config = harness.WriteFile(h, "Corefile",
		fmt.Sprintf("cluster.local {\n    bind %s\n    file %s\n    prometheus 127.0.0.1:9153\n}\n", clusterIP, zone))
	config := harness.WriteFile(h, "Corefile", m.corefile())
	for i := range nodes {
		n := &node{Namespace: netns.New(h, fmt.Sprintf("node %d", i)), config: config}
		netns.Join(h, c.outside, fmt.Sprintf("node%d", i), []string{fmt.Sprintf("10.1.%d.1/24", i)},
			n.Namespace, []string{fmt.Sprintf("10.1.%d.2/24", i)})
		n.Configure(h, "lo", []string{netip.PrefixFrom(serverAddr.Addr(), 32).String()})
		c.nodes = append(c.nodes, n)
	}
	c.startDNS()
	return c
}

// zone is the cluster DNS's zone. CoreDNS's default for names of a cluster is a TTL of 30 s, also of denials.
func (w workload) zone() string {
	text := "$ORIGIN cluster.local.\n$TTL 30\n@ SOA ns.dns hostmaster 1 7200 1800 86400 30\n"
	for i := range w.Services {
		text += serviceName(i) + " A 10.96.7.7\n"
	}
	return text
}

func (c *cluster) startDNS() {
	c.dns = process.Start(c.host, c.outside, process.Command{Path: harness.Stock(c.host), Args: []string{"-quiet", "-conf", c.config}})
	harness.Until(c.host, time.Minute, "answer of the cluster DNS", func() error { return ask(c.outside, netip.MustParseAddr(clusterIP)) })
}

func ask(from *netns.Namespace, server netip.Addr) error {
	_, err := client.Ask(from, client.Query{Server: client.Port53(server), Name: serviceName(0), Type: dns.TypeA, Timeout: 300 * time.Millisecond})
	return err
}

// start starts the cache and waits until it answers.
func (n *node) start(h *harness.Host) {
	n.cache = process.Start(h, n.Namespace, process.Command{
		Path: harness.NodeLocalDNS(h), Args: []string{"-quiet", "-conf", n.config}, Env: []string{"GOMAXPROCS=1"},
	})
	harness.Until(h, time.Minute, "answer of "+n.Name, func() error { return ask(n.Namespace, serverAddr.Addr()) })
}

// stop ends the cache as the kubelet does.
func (n *node) stop(h *harness.Host) {
	n.cache.Signal(h, syscall.SIGTERM)
	n.cache.Wait(h, 20*time.Second)
}

// begin starts the load of the node.
func (n *node) begin(h *harness.Host, w workload, seed int64, stop <-chan struct{}) {
	conn, err := n.Dial("udp", serverAddr, time.Second)
	if err != nil {
		h.Fatal(err)
	}
	n.load = newLoad(w, conn, seed)
	go n.load.run(stop)
}

// count is the number of questions that the cluster DNS was asked since its first start.
func (c *cluster) count() float64 {
	page, err := c.outside.Get("http://127.0.0.1:9153/metrics")
	if err != nil {
		c.host.Fatal(err)
	}
	n, err := process.Metric(page, requests)
	if err != nil {
		c.host.Fatal(err)
	}
	return c.asked + n
}

// connections is the number of TCP connections that the cluster DNS holds.
func (c *cluster) connections() int {
	out := c.outside.Exec(c.host, "", "ss", "-Htn", "state", "established", "sport = :53")
	return strings.Count(out, "\n")
}

// sent is the number of queries of all pods, and that of the queries without an answer so far.
func (c *cluster) sent() (sent, lost int64) {
	for _, n := range c.nodes {
		s, a := n.load.sent.Load(), n.load.answered.Load()
		sent, lost = sent+s, lost+s-a
	}
	return sent, lost
}
