// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a real Kubernetes of two nodes for its tests: etcd, the control plane, kubelets, containerd with runc,
// kube-proxy and CNI's bridge, each node in namespaces of its own on one machine, with no way out of them. make e2e builds
// what it needs. The stories are in the files *_test.go.
package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/control"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// Mode is how a cluster's network works.
type Mode struct {
	Proxy     string // kube-proxy's mode: iptables or nftables
	DualStack bool
}

// String names the mode: nftables-dual-stack.
func (m Mode) String() string {
	if m.DualStack {
		return m.Proxy + "-dual-stack"
	}
	return m.Proxy + "-ipv4"
}

// Cluster is a running cluster.
type Cluster struct {
	Mode
	Nodes   []*Node          // the first one has the control plane
	Outside *upstream.Server // the resolver in the nodes' resolv.conf
	loads   byte             // that were started
	fabric  *netns.Namespace
	dir     string
	name    string
	pki     *control.PKI
	api     *api
}

// resolver is a resolver outside of the cluster. It answers with one address for example.org, and with the name that
// Kubernetes' own tests want for 8.8.8.8, and denies everything else.
func resolver(listen, answer string) string {
	return fmt.Sprintf(`example.org:53 {
    bind %[1]s
    log . "seen {remote} {proto} {type} {name}"
    template IN A {
        answer "{{ .Name }} 60 IN A %[2]s"
    }
    template IN AAAA {
        answer "{{ .Name }} 60 IN AAAA 2001:db8::7"
    }
}
8.8.8.8.in-addr.arpa:53 {
    bind %[1]s
    log . "seen {remote} {proto} {type} {name}"
    template IN PTR {
        answer "{{ .Name }} 60 IN PTR dns.google."
    }
}
.:53 {
    bind %[1]s
    log . "seen {remote} {proto} {type} {name}"
    template IN ANY {
        rcode NXDOMAIN
        authority ". 60 IN SOA ns.outside. hostmaster.outside. 1 7200 1800 86400 60"
    }
}
`, listen, answer)
}

// Start makes a cluster, which lives until the end of the test, or of the test process, and waits until its nodes are ready.
func Start(t testing.TB, m Mode) *Cluster {
	t.Helper()
	require(t)
	begin := time.Now()
	c := &Cluster{Mode: m, name: fmt.Sprintf("nodelocaldns-e2e-%d-%s", os.Getpid(), m)}
	c.dir = workspace(t, c.name)
	c.fabric = netns.New(t, "fabric")
	c.makeFabric(t)
	c.Outside = upstream.StartServer(t, c.fabric, resolver(gateway, outsideIP))
	upstream.StartServer(t, c.fabric, resolver(gatewayTwo, outsideIPTwo))
	ips := map[string][]net.IP{}
	for i := range nodes {
		ips[nodeName(i)] = []net.IP{nodeIP(i)}
	}
	var err error
	if c.pki, err = control.NewPKI(c.dir, nodeIP(0), ips); err != nil {
		t.Fatalf("making certificates: %v", err)
	}
	if c.api, err = newAPI(c.fabric, c.pki, nodeIP(0)); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		c.Nodes = append(c.Nodes, c.newNode(t, i))
	}
	c.connect(t)
	c.startControlPlane(t)
	for _, n := range c.Nodes {
		n.startWorker(t)
	}
	c.waitReady(t)
	t.Logf("cluster %s ready after %s", m, time.Since(begin).Round(100*time.Millisecond))
	return c
}

// waitReady waits for the nodes and for the ServiceAccounts without which no pod can be made.
func (c *Cluster) waitReady(t testing.TB) {
	t.Helper()
	for _, n := range c.Nodes {
		harness.Until(t, 2*time.Minute, n.Name+" ready", func() error { return c.nodeReady(n.Name) })
	}
	for _, ns := range []string{"default", "kube-system"} {
		path := "/api/v1/namespaces/" + ns + "/serviceaccounts/default"
		harness.Until(t, time.Minute, "ServiceAccount in "+ns, func() error { return c.api.get(path, nil) })
	}
}

func (c *Cluster) nodeReady(name string) error {
	var node struct {
		Status struct{ Conditions []condition }
	}
	if err := c.api.get("/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	return isTrue(node.Status.Conditions, "Ready")
}

// condition is one of an object's status.
type condition struct{ Type, Status, Reason, Message string }

func isTrue(conditions []condition, kind string) error {
	for _, c := range conditions {
		if c.Type == kind {
			if c.Status == "True" {
				return nil
			}
			return fmt.Errorf("not %s: %s %s", kind, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("no condition %s", kind)
}

// Binary is the path of a program that make e2e built.
func Binary(name string) string { return filepath.Join(os.Getenv("CLUSTER_BIN"), name) }
