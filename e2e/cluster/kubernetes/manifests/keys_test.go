// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// keys has a value for each key, and what that changes in what the chart renders. No change: the key has no effect.
var keys = map[string]struct{ values, change string }{
	"mode":             {`mode: ipvs`, `+ DaemonSet | args -localip = 169.254.20.25`},
	"image.repository": {`image: {repository: registry.example/dns}`, `+ DaemonSet | container.image = registry.example/dns: dev`},
	"image.tag":        {`image: {repository: registry.example/dns, tag: v1}`, `+ DaemonSet | container.image = registry.example/dns: v1`},

	"config.dnsDomain":               {`config: {dnsDomain: example.org}`, `+ DaemonSet | args -clusterdomain = example.org`},
	"config.dnsServer":               {`config: {dnsServer: 10.96.0.10}`, `+ DaemonSet | args -localip = 169.254.20.25,10.96.0.10`},
	"config.localDns":                {`config: {localDns: 169.254.20.11}`, `+ DaemonSet | args -localip = 169.254.20.11,172.20.0.10`},
	"config.customUpstreamsvc":       {`config: {customUpstreamsvc: corp}`, `- Service upstream`},
	"config.upstreamServiceSelector": {`config: {upstreamServiceSelector: {app: dns}}`, `+ Service upstream | spec.selector = {app: dns, k8s-app: kube-dns}`},
	"config.bindIp":                  {`config: {bindIp: true}`, ``},
	"config.commProtocol":            {`config: {commProtocol: prefer_udp}`, `+ ConfigMap | block of the cluster | forward = . __PILLAR__CLUSTER__DNS__; prefer_udp`},
	"config.enableLogging":           {`config: {enableLogging: true}`, `+ ConfigMap | block . | log`},
	"config.noIPv6Lookups":           {`config: {noIPv6Lookups: true}`, `+ ConfigMap | block of the cluster | template = IN AAAA .; rcode NOERROR`},
	"config.kernelHits":              {`config: {kernelHits: true}`, `+ ConfigMap | block . | packetcache = kernel`},
	"config.cacheTTL":                {`config: {cacheTTL: 60}`, `+ ConfigMap | block . | cache = success __NODELOCALDNS__CACHE__9984__ 60`},
	"config.prefetch.enabled":        {`config: {prefetch: {enabled: true}}`, `denial __NODELOCALDNS__CACHE__4096__ 10; servfail 1s; prefetch 3 30s 20%`},
	"config.prefetch.amount":         {`config: {prefetch: {enabled: true, amount: 4}}`, `; prefetch 4 30s 20%`},
	"config.prefetch.duration":       {`config: {prefetch: {enabled: true, duration: 2m}}`, `; prefetch 3 2m 20%`},
	"config.prefetch.percentage":     {`config: {prefetch: {enabled: true, percentage: 10%}}`, `; prefetch 3 30s 10%`},
	"config.serveStale.enabled":      {`config: {serveStale: {enabled: true}}`, `; serve_stale 1h verify 500ms 10s 10s`},
	"config.serveStale.duration":     {`config: {serveStale: {enabled: true, duration: 2h}}`, `; serve_stale 2h verify 700ms 5s 5s`},
	"config.serveStale.mode":         {`config: {serveStale: {enabled: true, mode: immediate}}`, `; serve_stale 1h immediate`},
	"config.healthPort":              {`config: {healthPort: 8090}`, `+ ConfigMap | block of the cluster | health = __PILLAR__LOCAL__DNS__:8090`},
	"config.setupInterface":          {`config: {setupInterface: false}`, `+ DaemonSet | args -setupinterface = false`},
	"config.setupIptables":           {`config: {setupIptables: false}`, `+ CiliumLocalRedirectPolicy`},
	"config.skipTeardown":            {`config: {skipTeardown: true}`, `+ DaemonSet | args -skipteardown = true`},
	"config.extraServerBlocks":       {"config:\n  extraServerBlocks: |\n    example.org {\n        whoami\n    }\n", `+ ConfigMap | block example.org | whoami`},
	"config.customConfig":            {"config:\n  customConfig: |\n    . {\n        whoami\n    }\n", `- ConfigMap | block in-addr.arpa`},
	"config.port.number":             {`config: {port: {number: 5353}}`, ``},
	"config.port.tcp":                {`config: {port: {tcp: tcp}}`, `+ Service upstream | spec.ports[tcp] = {port: 53, protocol: TCP, targetPort: 53}`},
	"config.port.udp":                {`config: {port: {udp: udp}}`, `+ Service upstream | spec.ports[udp] = {port: 53, protocol: UDP, targetPort: 53}`},
	"config.upstreamServers":         {`config: {upstreamServers: 192.0.2.1}`, `+ ConfigMap | block . | forward = . 192.0.2.1; prefer_udp`},
	"config.upstreamForwardConfig":   {`config: {upstreamForwardConfig: [force_tcp]}`, `+ ConfigMap | block . | forward = . __PILLAR__UPSTREAM__SERVERS__; force_tcp`},
	"config.fallback":                {`config: {fallback: 192.0.2.1}`, `+ DaemonSet | args -fallback = 192.0.2.1`},
	"config.uplink":                  {`config: {uplink: open}`, `+ DaemonSet | args -uplink = open`},

	"nameOverride":               {`nameOverride: cache`, `+ DaemonSet | metadata.name = node-local-dns-cache`},
	"fullnameOverride":           {`fullnameOverride: cache`, `+ Service upstream | metadata.name = cache-upstream`},
	"serviceAccount.create":      {`serviceAccount: {create: false}`, `- ServiceAccount`},
	"serviceAccount.annotations": {`serviceAccount: {annotations: {a: b}}`, `+ ServiceAccount | metadata.annotations.a = b`},
	"serviceAccount.name":        {`serviceAccount: {name: dns}`, `+ DaemonSet | pod.serviceAccountName = dns`},
	"service.annotations":        {`service: {annotations: {a: b}}`, `+ Service for metrics | metadata.annotations.a = b`},
	"podAnnotations":             {`podAnnotations: {a: b}`, `+ DaemonSet | spec.template.metadata.annotations.a = b`},
	"podLabels":                  {`podLabels: {a: b}`, `+ DaemonSet | spec.template.metadata.labels.a = b`},
	"configMapAnnotations":       {`configMapAnnotations: {a: b}`, `+ ConfigMap | metadata.annotations.a = b`},
	"configMapLabels":            {`configMapLabels: {a: b}`, `+ ConfigMap | metadata.labels.a = b`},
	"daemonsetAnnotations":       {`daemonsetAnnotations: {a: b}`, `+ DaemonSet | metadata.annotations.a = b`},
	"daemonsetLabels":            {`daemonsetLabels: {a: b}`, `+ DaemonSet | metadata.labels.a = b`},
	"updateStrategy":             {`updateStrategy: {type: OnDelete, rollingUpdate: null}`, `+ DaemonSet | spec.updateStrategy = {type: OnDelete}`},
	"initContainers":             {`initContainers: [{name: a, image: b}]`, `+ DaemonSet | pod.initContainers[a] = {image: b}`},
	"securityContext":            {`securityContext: {capabilities: {add: [SYS_NICE]}}`, `capabilities: {add: [NET_ADMIN, NET_BIND_SERVICE, NET_RAW, SYS_NICE], drop: [ALL]}`},

	"serviceMonitor.enabled":             {`serviceMonitor: {enabled: true}`, `+ ServiceMonitor | spec.endpoints[0].port = metrics`},
	"serviceMonitor.labels":              {`serviceMonitor: {enabled: true, labels: {a: b}}`, `+ ServiceMonitor | metadata.labels.a = b`},
	"serviceMonitor.path":                {`serviceMonitor: {enabled: true, path: /m}`, `+ ServiceMonitor | spec.endpoints[0].path = /m`},
	"serviceMonitor.honorLabels":         {`serviceMonitor: {enabled: true, honorLabels: true}`, `+ ServiceMonitor | spec.endpoints[0].honorLabels = true`},
	"serviceMonitor.interval":            {`serviceMonitor: {enabled: true, interval: 10s}`, `+ ServiceMonitor | spec.endpoints[0].interval = 10s`},
	"serviceMonitor.scrapeTimeout":       {`serviceMonitor: {enabled: true, scrapeTimeout: 5s}`, `+ ServiceMonitor | spec.endpoints[0].scrapeTimeout = 5s`},
	"serviceMonitor.metricRelabelings":   {`serviceMonitor: {enabled: true, metricRelabelings: [{action: labeldrop, regex: a}]}`, `+ ServiceMonitor | spec.endpoints[0].metricRelabelings = [{action: labeldrop, regex: a}]`},
	"serviceMonitor.relabelings":         {`serviceMonitor: {enabled: true, relabelings: [{action: labeldrop, regex: a}]}`, `+ ServiceMonitor | spec.endpoints[0].relabelings = [{action: labeldrop, regex: a}]`},
	"serviceMonitor.namePrefix":          {`serviceMonitor: {enabled: true, namePrefix: a}`, `+ ServiceMonitor | metadata.name = a-node-local-dns`},
	"serviceMonitor.prometheusNamespace": {`serviceMonitor: {enabled: true, prometheusNamespace: a}`, `+ ServiceMonitor | metadata.namespace = a`},
	"prometheusRule.enabled":             {`prometheusRule: {enabled: true}`, `+ PrometheusRule | spec.groups = alerts`},
	"prometheusRule.labels":              {`prometheusRule: {enabled: true, labels: {a: b}}`, `+ PrometheusRule | metadata.labels.a = b`},
	"dashboard.enabled":                  {`dashboard: {enabled: true}`, `+ ConfigMap of the dashboard | metadata.labels.grafana_dashboard = 1`},
	"dashboard.namespace":                {`dashboard: {enabled: true, namespace: a}`, `+ ConfigMap of the dashboard | metadata.namespace = a`},
	"dashboard.label":                    {`dashboard: {enabled: true, label: a}`, `+ ConfigMap of the dashboard | metadata.labels.a = 1`},
	"dashboard.annotations":              {`dashboard: {enabled: true, annotations: {a: b}}`, `+ ConfigMap of the dashboard | metadata.annotations.a = b`},

	"resources":                  {`resources: {limits: {memory: 64Mi}, requests: {memory: 64Mi}}`, `+ DaemonSet | container.resources = {limits: {memory: 64Mi}, requests: {cpu: 25m, memory: 64Mi}}`},
	"lifecycle":                  {`lifecycle: {preStop: {sleep: {seconds: 2}}}`, `+ DaemonSet | container.lifecycle = {preStop: {sleep: {seconds: 2}}}`},
	"resizePolicy":               {`resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]`, `+ DaemonSet | container.resizePolicy = [{resourceName: cpu, restartPolicy: NotRequired}]`},
	"affinity":                   {`affinity: {podAffinity: {}}`, `+ DaemonSet | pod.affinity = {podAffinity: {}}`},
	"imagePullSecrets":           {`imagePullSecrets: [{name: a}]`, `+ DaemonSet | pod.imagePullSecrets[a] = {}`},
	"prometheusScraping.enabled": {`prometheusScraping: {enabled: false}`, `- DaemonSet | spec.template.metadata.annotations.prometheus.io/scrape`},
	"tolerations":                {`tolerations: [{key: a, operator: Exists}]`, `+ DaemonSet | pod.tolerations = [{key: a, operator: Exists}]`},
}

// TestChartKeys sets each key, beside the other chart's default values.
func TestChartKeys(t *testing.T) {
	defaults := absolute(t, theirs+"/values.yaml")
	before := rowsOf(t, text(t, chart(t), "-f", defaults))
	for key, want := range keys {
		t.Run(key, func(t *testing.T) {
			rendered := text(t, chart(t), "-f", defaults, "-f", values(t, want.values))
			changes := strings.Join(rowsOf(t, rendered).since(before), "\n")
			if want.change == "" && changes != "" || !strings.Contains(changes, want.change) {
				t.Errorf("%s: want %q, got\n%s", want.values, want.change, changes)
			}
			// Another name: the other chart's updateStrategy has no surge.
			ds := one[*appsv1.DaemonSet](t, decode(t, rendered))
			checkValid(t, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: ds.Namespace}, Spec: ds.Spec})
		})
	}
}

// TestKeysAreAll compares the keys of the tests with those of values.yaml, and those of docs/migration.md with the other chart's.
func TestKeysAreAll(t *testing.T) {
	want := slices.Sorted(maps.Keys(keys))
	if got := keysOf(t, chart(t)+"/values.yaml"); !slices.Equal(got, want) {
		t.Errorf("values.yaml has the keys\n%q\nthe tests have\n%q", got, want)
	}
	document := read(t, migration)
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9.]+)` \\| (.+) \\|$").FindAllStringSubmatch(document, -1) {
		rows[m[1]] = m[2]
	}
	// The other chart has these as comments.
	other := slices.Sorted(slices.Values(append(keysOf(t, theirs+"/values.yaml"), "serviceMonitor.interval", "serviceMonitor.scrapeTimeout")))
	if got := slices.Sorted(maps.Keys(rows)); !slices.Equal(got, other) {
		t.Errorf("docs/migration.md has rows for\n%q\nthe other chart has the keys\n%q", got, other)
	}
	for key, effect := range rows {
		if none := strings.HasPrefix(effect, "no effect: "); none != (keys[key].change == "") {
			t.Errorf("docs/migration.md says of %s: %s", key, effect)
		}
	}
}

// TestReadyOfOwnCorefile: a Corefile that was written for the other chart, whose pods have no readiness probe, may be without ready.
func TestReadyOfOwnCorefile(t *testing.T) {
	for corefile, want := range map[string]bool{
		". {\n    already\n    whoami\n}\n":             false,
		". {\n    ready :8181\n    whoami\n}\n":         true,
		". {\n    whoami\n    ready\n}\n":               true,
		". {\n    # ready for nothing\n    whoami\n}\n": false,
	} {
		own, err := yaml.Marshal(map[string]any{"config": map[string]string{"customConfig": corefile}})
		if err != nil {
			t.Fatal(err)
		}
		ds := one[*appsv1.DaemonSet](t, template(t, "-f", values(t, string(own))))
		if got := ds.Spec.Template.Spec.Containers[0].ReadinessProbe != nil; got != want {
			t.Errorf("%q: readiness probe %t, want %t", corefile, got, want)
		}
	}
}

// TestReuseValues renders with nothing but the other chart's default values, as helm upgrade --reuse-values does.
func TestReuseValues(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(chart(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/values.yaml", []byte(read(t, theirs+"/values.yaml")), 0o644); err != nil {
		t.Fatal(err)
	}
	want := rowsOf(t, text(t, chart(t), "-f", absolute(t, theirs+"/values.yaml")))
	for _, line := range rowsOf(t, text(t, dir)).since(want) {
		t.Errorf("without the default values of this chart: %s", line)
	}
}

// free are the keys whose values are the user's, or Kubernetes's, down from there.
var free = regexp.MustCompile(`^(config\.upstreamServiceSelector|updateStrategy|securityContext|resources)$`)

// keysOf lists the keys of a values file.
func keysOf(t *testing.T, file string) []string {
	t.Helper()
	var all map[string]any
	if err := yaml.Unmarshal([]byte(read(t, file)), &all); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var walk func(prefix string, m map[string]any)
	walk = func(prefix string, m map[string]any) {
		for k, v := range m {
			key := strings.TrimPrefix(prefix+"."+k, ".")
			if inner, ok := v.(map[string]any); ok && len(inner) > 0 && !free.MatchString(key) {
				walk(key, inner)
				continue
			}
			keys = append(keys, key)
		}
	}
	walk("", all)
	slices.Sort(keys)
	return keys
}
