// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dashboardRows is the dashboard: its rows from top to bottom, and the panels of each from left to right. TestCurrent writes
// dashboard.json from this table with -update. In a query NODES stands for the labels that limit it to the chosen job and nodes.
var dashboardRows = []struct {
	title  string
	panels []dashboardPanel
}{
	{"Nodes", []dashboardPanel{
		stat("Nodes with a cache", "short", "Nodes whose metrics are scraped.",
			query{"nodes", `count(max by (node) (up{NODES} == 1))`}),
		stat("Not steered", "short", "Addresses that are not steered to the cache. The cluster DNS answers there.",
			query{"addresses", `sum(1 - max by (node, address) (coredns_nodelocal_steering{NODES}))`}),
		stat("Configuration invalid", "short", "Nodes that run the last good configuration, as the present one cannot be used.",
			query{"nodes", `sum(1 - max by (node) (coredns_nodelocal_config_valid{NODES}))`}),
		stat("Upstreams silent", "short", "Upstreams that answer neither a question nor a probe, for each node.",
			query{"upstreams", `sum(1 - min by (node, to) (coredns_hedge_upstream_up{NODES}))`}),
		stat("Hit ratio", "percentunit", "Answers from the packet cache or the plugin cache, of all queries that came to them.",
			query{"hits", `sum(rate(coredns_cache_hits_total{NODES}[$__rate_interval])) / sum(rate(coredns_cache_requests_total{NODES}[$__rate_interval]))`}),
	}},
	{"Queries", []dashboardPanel{
		lines("Queries by node", "reqps", "Queries that the caches were asked.",
			rate("{{node}}", "node", "coredns_dns_requests_total")),
		lines("Queries by type", "reqps", "AAAA beside A is usual; see the component no-aaaa for a cluster without IPv6.",
			rate("{{type}}", "type", "coredns_dns_requests_total")),
		lines("Answers by rcode", "reqps", "NXDOMAIN is usual: pods try the names of their search list. SERVFAIL is not.",
			rate("{{rcode}}", "rcode", "coredns_dns_responses_total")),
	}},
	{"Caches", []dashboardPanel{
		lines("Hit ratio by node", "percentunit", "Answers from the packet cache or the plugin cache, of all queries that came to them.",
			query{"{{node}}", `sum by (node) (rate(coredns_cache_hits_total{NODES}[$__rate_interval])) / sum by (node) (rate(coredns_cache_requests_total{NODES}[$__rate_interval]))`}),
		lines("Duration of an answer", "s", "In the process, without the network. The packet cache's hits are in the least bucket.",
			query{"p50", `histogram_quantile(0.5, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket{NODES}[$__rate_interval])))`},
			query{"p99", `histogram_quantile(0.99, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket{NODES}[$__rate_interval])))`}),
		lines("Hits of the packet cache", "reqps", "Answers that were made from packets. They also count as hits of the plugin cache.",
			rate("{{node}}", "node", "coredns_packetcache_hits_total")),
		lines("Denied on the node", "reqps", "Names of search lists that cannot exist; the cluster DNS is not asked for them.",
			rate("{{node}}", "node", "coredns_searchpath_answers_total")),
	}},
	{"Upstreams", []dashboardPanel{
		lines("Questions to the cluster DNS", "reqps", "first: a question's first attempt. The other kinds are attempts beside or after the first one.",
			rate("{{kind}}", "kind", "coredns_hedge_attempts_total")),
		lines("Upstream answers", "short", "1 while the upstream answers.",
			query{"{{node}} {{to}}", `min by (node, to) (coredns_hedge_upstream_up{NODES})`}),
		lines("Old answers", "reqps", "Given while an upstream says nothing.",
			rate("{{node}}", "node", "coredns_cache_served_stale_total").orZero()),
	}},
	{"What one client may take", []dashboardPanel{
		lines("Refused questions", "reqps", "A client had its share of the places on the way to an upstream.",
			rate("{{node}} {{zone}}", "node, zone", "coredns_fairshare_refused_total").orZero()),
		lines("Refused by the packet cache", "reqps", "Queries that got no place with the plugins.",
			rate("{{node}} {{reason}}", "node, reason", "coredns_packetcache_refused_total")),
		lines("TCP connections closed", "cps", "A client had more than its share of the connections.",
			rate("{{node}}", "node", "coredns_nodelocal_connections_closed_total")),
	}},
	{"The node's network", []dashboardPanel{
		lines("Steering", "short", "1 while DNS to the address is steered to the cache.",
			query{"{{node}} {{address}}", `max by (node, address) (coredns_nodelocal_steering{NODES})`}),
		lines("Withdrawals", "cps", "Steering went off: by a self-query that failed, a lease that ran out, a reload, or the end of the process.",
			rate("{{node}} {{reason}}", "node, reason", "coredns_nodelocal_withdrawals_total")),
		lines("Repairs", "cps", "Another program removed the object, and the cache put it back.",
			rate("{{node}} {{object}}", "node, object", "coredns_nodelocal_repairs_total")),
	}},
	{"Process", []dashboardPanel{
		lines("Memory", "bytes", "Resident memory.",
			query{"{{node}}", `max by (node) (process_resident_memory_bytes{NODES})`}),
		lines("CPU", "percentunit", "Of one core.",
			query{"{{node}}", `max by (node) (rate(process_cpu_seconds_total{NODES}[$__rate_interval]))`}),
		lines("Lines of the log that were lost", "cps", "full: nobody reads the log. rate: more lines of one kind than are written. error: a write failed.",
			rate("{{node}} {{reason}}", "node, reason", "coredns_nodelocal_log_lines_dropped_total")),
	}},
}

// dashboardPanel is a panel; kind is Grafana's type of it, unit Grafana's name of the unit.
type dashboardPanel struct {
	kind, title, unit, description string
	queries                        []query
}

// query is what a panel shows, with the legend of each series.
type query struct{ legend, expr string }

func stat(title, unit, description string, queries ...query) dashboardPanel {
	return dashboardPanel{"stat", title, unit, description, queries}
}

func lines(title, unit, description string, queries ...query) dashboardPanel {
	return dashboardPanel{"timeseries", title, unit, description, queries}
}

// rate is a query for the events a second that a counter counts, by some of its labels.
func rate(legend, by, counter string) query {
	return query{legend, "sum by (" + by + ") (rate(" + counter + "{NODES}[$__rate_interval]))"}
}

// orZero is 0 for a node whose counter has counted nothing yet, and therefore is not there.
func (q query) orZero() query {
	q.expr += " or on (node) 0 * max by (node) (up{NODES})"
	return q
}

type object = map[string]any

var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// dashboard renders the table as Grafana's JSON.
func dashboard() string {
	var panels []object
	id, y := 0, 0
	add := func(p object, x, w, h int) {
		id++
		p["id"], p["gridPos"] = id, object{"x": x, "y": y, "w": w, "h": h}
		panels = append(panels, p)
	}
	for _, row := range dashboardRows {
		add(object{"type": "row", "title": row.title, "collapsed": false, "panels": []object{}}, 0, 24, 1)
		y++
		w, h := 24/len(row.panels), 8
		if row.panels[0].kind == "stat" {
			h = 4
		}
		for i, p := range row.panels {
			add(p.json(), i*w, w, h)
		}
		y += h
	}
	b, err := json.MarshalIndent(object{
		"uid": "node-local-dns", "title": "NodeLocal DNS", "description": "The DNS caches of the nodes (nodelocaldns).",
		"tags": []string{"dns", "nodelocaldns"}, "schemaVersion": 39, "version": 1, "editable": true, "refresh": "30s",
		"time": object{"from": "now-1h", "to": "now"}, "timezone": "", "graphTooltip": 1, "panels": panels,
		"annotations": object{"list": []object{}}, "links": []object{},
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}, "refresh": 1},
			variable("job", "Job", `label_values(coredns_nodelocal_steering, job)`),
			variable("node", "Node", `label_values(coredns_nodelocal_steering{job=~"$job"}, node)`),
		}},
	}, "", " ")
	if err != nil {
		panic(err) // the table has only what JSON has
	}
	return string(b) + "\n"
}

func (p dashboardPanel) json() object {
	var targets []object
	for i, q := range p.queries {
		expr := strings.ReplaceAll(q.expr, "NODES", `job=~"$job",node=~"$node"`)
		target := object{"refId": string(rune('A' + i)), "expr": expr, "legendFormat": q.legend, "datasource": datasource}
		if p.kind == "stat" {
			target["instant"] = true
		}
		targets = append(targets, target)
	}
	options := object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi"}}
	if p.kind == "stat" {
		options = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}}
	}
	return object{
		"type": p.kind, "title": p.title, "description": p.description, "datasource": datasource, "targets": targets, "options": options,
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []object{}},
	}
}

// variable is a choice at the top of the dashboard, of one or more values that Prometheus knows.
func variable(name, label, values string) object {
	return object{
		"name": name, "label": label, "type": "query", "datasource": datasource, "query": object{"query": values, "refId": name}, "definition": values,
		"refresh": 2, "includeAll": true, "multi": true, "allValue": ".+", "current": object{"text": "All", "value": "$__all"}, "sort": 1,
	}
}

// TestDashboard: each panel says what it shows, each query is limited to the chosen job and nodes, and each metric is one that the
// manual of a plugin, here or in CoreDNS, describes.
func TestDashboard(t *testing.T) {
	known := documentedMetrics(t)
	for _, row := range dashboardRows {
		for _, p := range row.panels {
			if p.title == "" || p.unit == "" || p.description == "" || len(p.queries) == 0 {
				t.Errorf("panel %q of row %q has no title, unit, description or query", p.title, row.title)
			}
			for _, q := range p.queries {
				if strings.Count(q.expr, "{NODES}") != strings.Count(q.expr, "{") {
					t.Errorf("panel %q: a selector has no job or node: %s", p.title, q.expr)
				}
				for _, metric := range all(q.expr, `(\w+)\{`) {
					if !slices.Contains(known, strings.TrimSuffix(metric, "_bucket")) {
						t.Errorf("panel %q: no manual has %s", p.title, metric)
					}
				}
			}
		}
	}
}

// documentedMetrics are the metrics in the manuals of the plugins, and those that every process or target has.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coredns/coredns").Output()
	if err != nil {
		t.Fatalf("finding CoreDNS's source: %v", err)
	}
	known := []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
	for _, pattern := range []string{"../plugin/*/README.md", filepath.Join(strings.TrimSpace(string(dir)), "plugin/*/README.md")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			manual, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			known = append(known, all(string(manual), "`(coredns_[a-z0-9_]+)")...)
		}
	}
	return known
}
