// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/prometheus"
)

var draw = flag.Bool("update", false, "draw docs/dashboard.svg anew")

const monitoringFiles = "../manifests/components/monitoring/"

// A panel is one of dashboard.json.
type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr, LegendFormat string }
}

// panels reads dashboard.json, and puts into the queries what Grafana would put there with all jobs and nodes chosen.
func panels(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	text := strings.NewReplacer("$__rate_interval", rateInterval.String(), "$job", ".+", "$node", ".+").Replace(readFile(t, monitoringFiles+"dashboard.json"))
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

// rateInterval is what Grafana takes for $__rate_interval with this time between scrapes: four of them.
const rateInterval = 4 * prometheus.Interval

// alertRules is the PrometheusRule's content, as a file of rules.
func alertRules(t *testing.T) string {
	t.Helper()
	_, spec, _ := strings.Cut(readFile(t, monitoringFiles+"prometheusrule.yaml"), "\nspec:\n")
	return strings.ReplaceAll("\n"+spec, "\n  ", "\n")
}

// alerts are the names of the alerts that were pending or firing in the time before now.
func alerts(t *testing.T, p *prometheus.Server, before time.Duration) []string {
	t.Helper()
	names := map[string]bool{}
	for _, s := range p.Query(t, fmt.Sprintf("group by (alertname) (last_over_time(ALERTS[%ds]))", int(before.Seconds())), time.Now()) {
		names[strings.TrimPrefix(s.Labels["alertname"], "NodeLocalDNS")] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// A mishap is something that goes wrong on the node until it ends.
type mishap struct {
	name   string
	begin  func(t *testing.T, c *cache) (end func())
	seen   string   // a query that returns something when Prometheus has seen the mishap
	alerts []string // those that the mishap makes pending or firing
}

var mishaps = []mishap{
	{"a pod makes too many TCP connections", crowded, "rate(coredns_nodelocal_connections_closed_total[5s]) > 0", []string{"Connections"}},
	{"another program flushes the rules", rulesFlushed, "rate(coredns_nodelocal_repairs_total[5s]) > 0", nil},
	{"the template is broken", broken, "coredns_nodelocal_config_valid == 0", []string{"ConfigInvalid"}},
	{"a pod asks for names that nobody answers", pestered, "rate(coredns_fairshare_refused_total[5s]) > 0", []string{"Refusing", "CoreDNSErrorsHigh"}},
	{"the process stands still", stopped, "rate(coredns_nodelocal_withdrawals_total{reason='lease'}[5s]) > 0", []string{"Withdrawn"}},
	{"the cluster DNS is silent", silenced, "coredns_hedge_upstream_up == 0 and on () rate(coredns_cache_served_stale_total[5s]) > 0", []string{"UpstreamSilent", "ServingStale"}},
}

// alertsBeside may be there for a moment, according to when Prometheus looks: a process that stands still cannot be scraped, one with too
// many connections may have no descriptor for the renewal of the lease, and the cluster DNS is slow to all while one pod asks too much.
var alertsBeside = []string{"CoreDNSLatencyHigh", "Hedging", "Lease", "MetricsDown", "SteeringOff", "TargetDown"}

func over() {}

func crowded(t *testing.T, c *cache) func() {
	c.limitFiles(t, 256)
	crowd := client.Crowd{From: c.lab.Pod, Target: lab.ClusterIP, Size: 400, Manners: client.Idle}.Start(t)
	return func() {
		crowd.Stop()
		c.limitFiles(t, 4096)
	}
}

func rulesFlushed(t *testing.T, c *cache) func() {
	flushOf(c.options.firewall).do(t, c)
	return over
}

func broken(t *testing.T, c *cache) func() {
	c.setBase(t, "frobnicate\n"+c.options.base)
	return func() { c.setBase(t, c.options.base) }
}

func pestered(t *testing.T, c *cache) func() {
	c.lab.Slow.Delay(20 * time.Second)
	flood := client.Flood{
		From: c.lab.Pod, Target: lab.ClusterIP, Sources: []netip.Addr{lab.PodIP}, Rate: 400, Payload: client.NewNames(1, "slow.cluster.local."),
	}.Start(t)
	return func() { flood.Stop(t) }
}

// stopped is over when the lease has run out, and the cluster DNS answers in the place of the cache.
func stopped(t *testing.T, c *cache) func() {
	c.Freeze(t)
	harness.Until(t, offTimeout, "answer while the process is stopped", func() error {
		_, err := client.Ask(c.lab.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: "web.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
		return err
	})
	c.Signal(t, syscall.SIGCONT)
	return over
}

func silenced(t *testing.T, c *cache) func() {
	c.lab.ClusterDNS.Freeze(t)
	return func() { c.lab.ClusterDNS.Signal(t, syscall.SIGCONT) }
}

// calm is how many scrapes see the node when all is well: before the mishaps, and after them.
const calm = 15

// TestMonitoring has a Prometheus scrape a node's cache. While all is well no alert is pending or firing. Then one thing after another
// goes wrong. Each panel of the dashboard has data each time, and the alerts are those of the mishaps.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	p := prometheus.Start(t, l.Node, "127.0.0.1:9253", alertRules(t))
	client.StartAll(t, everyday(l)...)
	p.Until(t, fmt.Sprintf("count_over_time(up[5m]) >= %d", calm))
	shown(t, p)
	harness.Until(t, 30*time.Second, "time without an alert while all is well", func() error { // a busy machine may miss a scrape
		for _, s := range p.Query(t, "ALERTS", time.Now()) {
			return fmt.Errorf("%v", s.Labels)
		}
		return nil
	})
	rest := time.Now()
	var marks []prometheus.Mark
	var want []string
	for _, m := range mishaps {
		marks = append(marks, prometheus.Mark{Time: time.Now(), Label: m.name})
		end := m.begin(t, c)
		p.Until(t, m.seen)
		for _, name := range m.alerts { // at the next look at the rules
			p.Until(t, fmt.Sprintf("ALERTS{alertname=~'(NodeLocalDNS)?%s'}", name))
		}
		shown(t, p)
		end()
		want = append(want, m.alerts...)
		if *draw { // so that the mishaps can be told apart
			scraped := p.Value(t, "count_over_time(up[5m])", time.Now())
			p.Until(t, fmt.Sprintf("count_over_time(up[5m]) >= %f", scraped+6))
		}
	}
	p.Until(t, fmt.Sprintf("min_over_time(coredns_hedge_upstream_up[%ds]) == 1", calm))
	shown(t, p)
	for _, name := range alerts(t, p, time.Since(rest)) {
		if !slices.Contains(append(want, alertsBeside...), name) {
			t.Errorf("%s was pending or firing without a cause", name)
		}
	}
	if *draw {
		picture(t, p, marks)
	}
}

// picture writes docs/dashboard.svg.
func picture(t *testing.T, p *prometheus.Server, marks []prometheus.Mark) {
	t.Helper()
	begin, end := p.Since(), time.Now()
	var drawn []prometheus.Panel
	for _, pn := range panels(t) {
		g := pn.GridPos
		d := prometheus.Panel{Kind: pn.Type, Title: pn.Title, Unit: pn.FieldConfig.Defaults.Unit, X: g.X, Y: g.Y, W: g.W, H: g.H}
		for _, target := range pn.Targets {
			for _, s := range p.Range(t, target.Expr, end) {
				d.Series, d.Legends = append(d.Series, s), append(d.Legends, legend(target.LegendFormat, s.Labels))
			}
		}
		drawn = append(drawn, d)
	}
	title := "The dashboard, with a node in network namespaces on which six things go wrong, one after another"
	if err := os.WriteFile("../docs/dashboard.svg", []byte(prometheus.Draw(title, drawn, marks, begin, end)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// legend puts labels into Grafana's format of a legend.
func legend(format string, labels map[string]string) string {
	return strings.TrimSpace(regexp.MustCompile(`\{\{(\w+)\}\}`).ReplaceAllStringFunc(format, func(name string) string {
		return labels[strings.Trim(name, "{}")]
	}))
}

// shown waits until no panel is empty, as one is for some seconds when a scrape of a busy machine was missed.
func shown(t *testing.T, p *prometheus.Server) {
	t.Helper()
	harness.Until(t, 20*time.Second, "time in which all panels have data", func() error {
		for _, pn := range panels(t) {
			for _, target := range pn.Targets {
				if len(p.Query(t, target.Expr, time.Now())) == 0 {
					return fmt.Errorf("panel %q is empty: %s", pn.Title, target.Expr)
				}
			}
		}
		return nil
	})
}

// everyday is what the pods of a node ask: mostly the same names, some new ones, some outside, by search lists, over TCP.
func everyday(l *lab.Lab) []client.Probe {
	pod := &dns.ClientConfig{
		Servers: []string{lab.ClusterIP.String()}, Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Ndots: 5, Timeout: 5, Attempts: 2,
	}
	probe := func(every time.Duration, name func(int) string) client.Probe {
		return client.Probe{From: l.Pod, Target: lab.ClusterIP, Interval: every, Timeout: 5 * time.Second, Name: name}
	}
	hot, cold := probe(10*time.Millisecond, client.Always("web.default.svc.cluster.local.")), probe(100*time.Millisecond, client.Unique("cold"))
	outside := probe(100*time.Millisecond, func(i int) string { return fmt.Sprintf("www%d.example.org", i%20) })
	outside.Stub = pod
	tcp := probe(100*time.Millisecond, client.Unique("tcp"))
	tcp.TCP = true
	return []client.Probe{hot, cold, outside, tcp}
}
