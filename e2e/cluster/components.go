// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/control"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// startControlPlane starts etcd, the API server, the controllers and the scheduler on the first node.
func (c *Cluster) startControlPlane(t testing.TB) {
	t.Helper()
	n := c.Nodes[0]
	kubeconfig := func(name string) string { return "--kubeconfig=" + c.pki.Path(name+".kubeconfig") }
	n.run(t, "etcd", Binary("kubernetes"), control.Etcd(n.state("etcd"))...)
	n.run(t, "kube-apiserver", Binary("kubernetes"), c.pki.APIServer(nodeIP(0), c.both(serviceNet, serviceNet6))...)
	harness.Until(t, 2*time.Minute, "API server", func() error { return c.api.get("/readyz", nil) })
	n.run(t, "kube-controller-manager", Binary("kubernetes"), kubeconfig("admin"), "--leader-elect=false",
		"--service-account-private-key-file="+c.pki.Path("sa.key"), "--root-ca-file="+c.pki.Path("ca.crt"),
		"--allocate-node-cidrs=false", "--bind-address=127.0.0.1")
	n.run(t, "kube-scheduler", Binary("kubernetes"), kubeconfig("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1")
}

// both joins the values of the two families, where the cluster has both.
func (c *Cluster) both(v4, v6 string) string {
	if c.DualStack {
		return v4 + "," + v6
	}
	return v4
}

// startWorker starts containerd, the kubelet and kube-proxy.
func (n *Node) startWorker(t testing.TB) {
	t.Helper()
	n.write(t, "containerd.toml", n.containerdConfig())
	n.write(t, "cni/10-pods.conflist", n.cniConfig())
	n.write(t, "resolv.conf", "nameserver "+gateway+"\n")
	n.write(t, "kubelet.yaml", n.kubeletConfig())
	n.write(t, "proxy.yaml", n.proxyConfig())
	n.run(t, "containerd", which(t, "containerd"), "--config", n.state("containerd.toml"))
	harness.Until(t, 30*time.Second, "containerd", func() error {
		_, err := n.Try("ctr", "version")
		return err
	})
	n.Import(t, "pause", "probe", "clusterdns", "nodelocaldns")
	n.StartKubelet(t)
	n.run(t, "kube-proxy", Binary("kubernetes"), "--config="+n.state("proxy.yaml"), "-v=2")
}

// StartKubelet starts the kubelet, at first or after a Stop.
func (n *Node) StartKubelet(t testing.TB) {
	t.Helper()
	n.run(t, "kubelet", Binary("kubernetes"), "--config="+n.state("kubelet.yaml"),
		"--kubeconfig="+n.cluster.pki.Path(n.Name+".kubeconfig"), "--hostname-override="+n.Name,
		"--node-ip="+n.cluster.both(nodeIP(n.index).String(), nodeIP6(n.index).String()), "-v=2")
}

// RestartKubelet stops the kubelet as an update of it would, and starts it again.
func (n *Node) RestartKubelet(t testing.TB) {
	t.Helper()
	n.Stop(t, "kubelet", syscall.SIGTERM)
	n.StartKubelet(t)
}

// Import gives images that make e2e built to the node's containerd.
func (n *Node) Import(t testing.TB, images ...string) {
	t.Helper()
	for _, image := range images {
		n.Exec(t, "ctr", "--namespace=k8s.io", "images", "import", Binary(image+".tar"))
	}
}

// write writes a file into the node's state, from inside: the machine does not see that tmpfs.
func (n *Node) write(t testing.TB, file, text string) {
	t.Helper()
	path := filepath.Join("/proc", fmt.Sprint(n.pid), "root", n.state(file))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func which(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// containerdConfig turns off what a machine without AppArmor, or without CAP_SYS_RESOURCE, cannot do.
func (n *Node) containerdConfig() string {
	return fmt.Sprintf(`version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "e2e.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%s"
`, n.state("cni"))
}

func (n *Node) cniConfig() string {
	ranges, routes := fmt.Sprintf(`[{"subnet":"%s"}]`, podNet(n.index)), `{"dst":"0.0.0.0/0"}`
	if n.cluster.DualStack {
		ranges += fmt.Sprintf(`,[{"subnet":"%s"}]`, podNet6(n.index))
		routes += `,{"dst":"::/0"}`
	}
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"pods","plugins":[
  {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
   "ipam":{"type":"host-local","ranges":[%s],"routes":[%s]}},
  {"type":"portmap","capabilities":{"portMappings":true}}]}`, ranges, routes)
}

// kubeletConfig is a usual one but for the cgroups of version 1, which it would refuse, and a shorter syncFrequency: that
// is how long a changed ConfigMap takes to a mounted file (1m by default), which is not ours to test.
func (n *Node) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[2]s}}
authorization: {mode: Webhook}
tlsCertFile: %[3]s
tlsPrivateKeyFile: %[4]s
clusterDNS: [%[5]s]
clusterDomain: cluster.local
resolvConf: %[6]s
syncFrequency: 10s
nodeStatusUpdateFrequency: 2s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
imageGCHighThresholdPercent: 100
volumePluginDir: /var/lib/kubelet/volumeplugins
`, n.cgroup(), n.cluster.pki.Path("ca.crt"), n.cluster.pki.Path(n.Name+".crt"), n.cluster.pki.Path(n.Name+".key"),
		strings.Split(n.cluster.both(DNSService, DNSService6), ",")[0], n.state("resolv.conf"))
}

// proxyConfig leaves the machine's conntrack limits alone: they can be written in the first network namespace only.
func (n *Node) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s
hostnameOverride: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, n.cluster.Proxy, n.cluster.pki.Path("proxy.kubeconfig"), n.cluster.both(podNets, podNets6), n.Name)
}
