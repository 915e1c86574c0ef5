// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/kubeapi"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// kind says what is on the node.
type kind struct {
	name, title string
	program     func(testing.TB) string // path of the cache; nil: none
	args        []string                // beside those of both caches
}

// The names of the arrangements in the results.
const (
	alone     = "alone"
	reference = "reference"
	ours      = "nodelocaldns"
)

var kinds = []kind{
	{name: alone, title: "cluster DNS alone"},
	{name: reference, title: "behind stock CoreDNS", program: harness.Reference},
	{name: ours, title: "behind nodelocaldns", program: harness.NodeLocalDNS, args: []string{"-quiet", "-link", "tun", "-firewall", "iptables"}},
}

//go:embed configs
var configs embed.FS

func config(name string) string {
	text, err := configs.ReadFile("configs/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(text)
}

// arrangement is a pod, its node, the cluster DNS and the nameserver of the nodes, with or without a cache on the node.
type arrangement struct {
	kind
	lab               *lab.Lab
	host              *harness.Host
	clusterDNS, cache *process.Process // cache: nil if there is none
}

// newArrangement starts an arrangement, and waits until each question of each set is answered as expected. The server that the pod asks
// has a core of its own. All other programs share the other core.
func newArrangement(h *harness.Host, k kind) *arrangement {
	a := &arrangement{kind: k, lab: lab.Network(h, lab.IPTablesNFT), host: h}
	others, own := netns.Cores(h)
	dnsCore := own
	if k.program != nil {
		dnsCore = others
	}
	for n, core := range map[*netns.Namespace]int{a.lab.Pod: others, a.lab.Outside: others, a.lab.DNS: dnsCore, a.lab.Node: own} {
		n.Pin(h, core)
	}
	process.Start(h, a.lab.Outside, process.Command{
		Path: harness.Stock(h), Args: []string{"-quiet", "-conf", harness.WriteFile(h, "Corefile", config("outside.corefile"))},
	})
	a.startClusterDNS()
	if k.program != nil {
		a.startCache()
	}
	harness.Until(h, 30*time.Second, "expected answers, "+k.title, a.check)
	return a
}

// startClusterDNS starts CoreDNS and what it needs of an API server.
func (a *arrangement) startClusterDNS() {
	path := os.Getenv("CLUSTERDNS_BIN")
	if path == "" {
		a.host.Fatal("CLUSTERDNS_BIN is not set: run hack/loads.sh, which builds the cluster DNS")
	}
	var l net.Listener
	err := a.lab.DNS.Run(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		a.host.Fatal("listening in the namespace of the cluster DNS: ", err)
	}
	api := kubeapi.Start(a.host, l)
	for _, name := range []string{"default", "kube-system", "dnstest"} {
		api.Namespace(name)
	}
	api.Service("default", "kubernetes", "10.96.0.1")
	api.Service("kube-system", "kube-dns", lab.ClusterIP.String())
	for i := range services {
		name, _, _ := strings.Cut(serviceName(i), ".")
		api.Service("dnstest", name, fmt.Sprintf("10.96.1.%d", i+1))
	}
	a.lab.DNS.ResolvConf(a.host, fmt.Sprintf("nameserver %s\n", lab.OutsideIP))
	corefile := strings.Replace(config("clusterdns.corefile"), "ENDPOINT", api.URL, 1)
	a.clusterDNS = process.Start(a.host, a.lab.DNS, process.Command{
		Path: path, Args: []string{"-quiet", "-conf", harness.WriteFile(a.host, "Corefile", corefile)},
	})
	a.answers(lab.DNSPodIP)
}

// startCache starts the cache with the arguments of the usual manifests. The reference gets its manifest's template, and nodelocaldns
// has the default one.
func (a *arrangement) startCache() {
	args := []string{
		"-localip", fmt.Sprintf("%s,%s", lab.LinkLocal, lab.ClusterIP), "-conf", harness.Dir(a.host) + "/Corefile",
		"-upstreamsvc", "kube-dns-upstream",
	}
	if a.name == reference {
		args = append(args, "-basecorefile", harness.WriteFile(a.host, "Corefile.base", config("reference.corefile")))
	}
	a.cache = process.Start(a.host, a.lab.Node, process.Command{
		Path: a.program(a.host), Args: append(args, a.args...),
		Env: []string{
			"PATH=" + lab.NewTools(a.host, lab.IPTablesNFT).Dir,
			fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", lab.UpstreamIP), fmt.Sprintf("KUBE_DNS_SERVICE_HOST=%s", lab.ClusterIP),
		},
	})
	a.answers(lab.LinkLocal)
}

// answers waits until the server answers the pod.
func (a *arrangement) answers(server netip.Addr) {
	harness.Until(a.host, 30*time.Second, fmt.Sprintf("answer of %s, %s", server, a.title), func() error {
		return a.ask(server, sets[len(sets)-1].queries[0])
	})
}

// check asks each question once, at the address that the pods ask. It is an error if an answer is not the expected one, or if another
// server than that of the arrangement has answered.
func (a *arrangement) check() error {
	before, asked := a.requests(a.cache != nil), 0
	for _, s := range sets {
		for _, q := range s.queries {
			if err := a.ask(lab.ClusterIP, q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
			asked++
		}
	}
	if got := a.requests(a.cache != nil) - before; got < float64(asked) {
		return fmt.Errorf("%d questions, and the server got %.0f", asked, got)
	}
	return nil
}

// requests is the number of questions that the cache or the cluster DNS was asked since its start. There is no number before the first one.
func (a *arrangement) requests(ofCache bool) (sum float64) {
	n, url := a.lab.DNS, "http://127.0.0.1:9153/metrics"
	if ofCache {
		n, url = a.lab.Node, "http://127.0.0.1:9253/metrics"
	}
	harness.Until(a.host, 30*time.Second, "metrics, "+a.title, func() error { // a busy server may be late
		page, err := n.Get(url)
		if err == nil {
			sum, err = process.Metric(page, "coredns_dns_requests_total")
		}
		return err
	})
	return sum
}

// ask is an error if the answer is not the expected one.
func (a *arrangement) ask(server netip.Addr, query string) error {
	name, qtype, _ := strings.Cut(query, " ")
	m, err := client.Ask(a.lab.Pod, client.Query{Server: client.Port53(server), Name: name + ".", Type: dns.StringToType[qtype]})
	if err != nil {
		return err
	}
	want, data := dns.RcodeNameError, exists(query)
	if data {
		want = dns.RcodeSuccess
	}
	if m.Rcode != want || (len(m.Answer) > 0) != data {
		return fmt.Errorf("answered %s with %d records, want %s", dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[want])
	}
	return nil
}
