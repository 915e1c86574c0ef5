// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// probePort is where a pod's probe listens.
const probePort = 7080

// PodSpec says what kind of client a pod is.
type PodSpec struct {
	Name        string
	Node        *Node
	HostNetwork bool     // with the DNS policy ClusterFirstWithHostNet
	Nameserver  string   // if set: DNS policy None, and this nameserver
	Searches    []string // with Nameserver
	Hostname    string   // with Subdomain
	Subdomain   string
	Labels      string // "app: web"
}

// Pod is a running client: its probe asks as it is told.
type Pod struct {
	Name    string
	Node    *Node
	IP      string
	cluster *Cluster
	client  *http.Client
}

func (s PodSpec) yaml() string {
	var extra strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&extra, "\n  "+format, args...) }
	switch {
	case s.HostNetwork:
		line("hostNetwork: true")
		line("dnsPolicy: ClusterFirstWithHostNet")
	case s.Nameserver != "":
		line("dnsPolicy: None")
		line("dnsConfig: {nameservers: [%q], searches: [%s], options: [{name: ndots, value: '5'}]}", s.Nameserver, strings.Join(s.Searches, ", "))
	}
	if s.Hostname != "" {
		line("hostname: %s", s.Hostname)
		line("subdomain: %s", s.Subdomain)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, labels: {%s}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: probe
    image: e2e.local/probe:1
    imagePullPolicy: Never
    readinessProbe: {httpGet: {path: /healthz, port: %d}, periodSeconds: 1}%s
`, s.Name, s.Labels, s.Node.Name, probePort, extra.String())
}

// StartPod makes a pod and waits until its probe answers. It is deleted at the end of the test.
func (c *Cluster) StartPod(t testing.TB, s PodSpec) *Pod {
	t.Helper()
	c.Apply(t, s.yaml())
	t.Cleanup(func() { c.Kubectl(t, "delete", "pod", s.Name, "--now", "--wait=false") })
	p := &Pod{Name: s.Name, Node: s.Node, cluster: c}
	p.client = &http.Client{Transport: &http.Transport{DialContext: c.fabric.DialContext}}
	harness.Until(t, time.Minute, "pod "+s.Name, func() error {
		pod, err := c.pod("default", s.Name)
		if err != nil {
			return err
		}
		p.IP = pod.Status.PodIP
		return isTrue(pod.Status.Conditions, "Ready")
	})
	return p
}

func (p *Pod) post(path string, in, out any) error {
	return post(p.client, fmt.Sprintf("http://%s:%d/%s", p.IP, probePort, path), in, out)
}

// Ask sends one query from the pod.
func (p *Pod) Ask(q client.Query) (*dns.Msg, error) {
	var a protocol.Wire
	if err := p.post("ask", q, &a); err != nil {
		return nil, err
	}
	msg := new(dns.Msg)
	return msg, msg.Unpack(a.Message)
}

// Lookup resolves a name in the pod as a C library would.
func (p *Pod) Lookup(name string) ([]string, error) {
	var a protocol.Addresses
	err := p.post("lookup", protocol.Lookup{Name: name}, &a)
	return a.Addresses, err
}

// Load is a running load.
type Load struct {
	pod *Pod
	id  string
}

// Start begins to ask. The load ends with its pod if it is not stopped before.
func (p *Pod) Start(t testing.TB, q protocol.Load) *Load {
	t.Helper()
	p.cluster.loads++
	q.ID, q.Tag = fmt.Sprintf("%s-%d", p.Name, p.cluster.loads), p.cluster.loads
	if err := p.post("start", q, &protocol.Done{}); err != nil {
		t.Fatalf("starting a load in %s: %v", p.Name, err)
	}
	return &Load{pod: p, id: q.ID}
}

// SoFar reports on the queries that have ended.
func (l *Load) SoFar(t testing.TB) client.Report { return l.call(t, "report") }

// Stop ends the load, waits for the queries in flight and reports.
func (l *Load) Stop(t testing.TB) client.Report { return l.call(t, "stop") }

func (l *Load) call(t testing.TB, what string) client.Report {
	t.Helper()
	var r protocol.Report
	if err := l.pod.post(what, protocol.ID{ID: l.id}, &r); err != nil {
		t.Fatalf("asking for the report of %s: %v", l.id, err)
	}
	return r.Unpack()
}

// podObject is what the tests read of a pod.
type podObject struct {
	Metadata struct{ Name, DeletionTimestamp string }
	Spec     struct{ NodeName string }
	Status   struct {
		PodIP             string
		Phase             string
		Conditions        []condition
		ContainerStatuses []containerStatus
	}
}

type containerStatus struct {
	ContainerID  string
	RestartCount int
	Ready        bool
	State        struct {
		Waiting *struct{ Reason, Message string }
	}
	LastState struct {
		Terminated *struct {
			Reason, Message string
			ExitCode        int
		}
	}
}

func (c *Cluster) pod(namespace, name string) (p podObject, err error) {
	err = c.api.get("/api/v1/namespaces/"+namespace+"/pods/"+name, &p)
	return p, err
}

// pods lists the pods with a label, as k8s-app=kube-dns.
func (c *Cluster) pods(namespace, selector string) ([]podObject, error) {
	var list struct{ Items []podObject }
	err := c.api.get("/api/v1/namespaces/"+namespace+"/pods?labelSelector="+selector, &list)
	return list.Items, err
}
