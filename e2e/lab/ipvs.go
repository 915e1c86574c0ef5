// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// IPVS is the mode of kube-proxy in which one link has every ClusterIP, and the kernel's load balancer takes the packets to
// these addresses. The cache has no such backend. In this mode the lab runs Kubernetes' own kube-proxy.
const IPVS Backend = "ipvs"

// KubeProxyDir is the environment variable with the directory of kube-proxy and of proxy.kubeconfig. The API server is reached by the
// machine's link eth0. e2e/vm makes a machine with all that.
const KubeProxyDir = "KUBE_PROXY_DIR"

// machineAddress is the address of a virtual machine in qemu's user mode network.
const machineAddress = "10.0.2.15/24"

// HasKubeProxy is nil if Kubernetes' own kube-proxy can run here, and else says why not.
func HasKubeProxy() error {
	if os.Getenv(KubeProxyDir) == "" {
		return errors.New(KubeProxyDir + " is not set: there is no API server for kube-proxy")
	}
	return nil
}

// plugIn gives the node the machine's link. When the node's namespace ends, the kernel puts the link back.
func (l *Lab) plugIn(t testing.TB) {
	t.Helper()
	harness.Until(t, 30*time.Second, "link of the machine", func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(link, int(l.Node.Handle))
	})
	l.Node.Configure(t, "eth0", []string{machineAddress})
}

// proxyConfig leaves the limits of tracked connections alone: they are the whole machine's. Each 30 s kube-proxy would run ipset a hundred
// times in IPVS mode, for which emulation takes seconds.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s,%s
hostnameOverride: node
ipvs: {syncPeriod: 15m}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// RunKubeProxy starts Kubernetes' own kube-proxy in that mode, without a wait for what it does. It ends with the test.
func (l *Lab) RunKubeProxy(t testing.TB, mode Backend) {
	t.Helper()
	dir := os.Getenv(KubeProxyDir)
	config := fmt.Sprintf(proxyConfig, mode, filepath.Join(dir, "proxy.kubeconfig"), PodNetwork, PodNetwork6)
	l.Proxy = process.Start(t, l.Node, process.Command{
		Path: filepath.Join(dir, "kube-proxy"),
		Args: []string{"--config=" + harness.WriteFile(t, "kube-proxy.yaml", config)},
		Env:  []string{"PATH=" + os.Getenv("PATH")},
	})
}

// WaitKubeProxy waits until Kubernetes' own kube-proxy, in that mode, has written the rules of both families once.
func (l *Lab) WaitKubeProxy(t testing.TB, mode Backend) {
	t.Helper()
	harness.Until(t, 2*time.Minute, "kube-proxy in mode "+string(mode), func() error {
		if got, err := l.Node.Get("http://127.0.0.1:10249/proxyMode"); err != nil || got != string(mode) {
			return fmt.Errorf("mode %q, %v", got, err)
		}
		return nil
	})
	l.waitAnswers(t) // kube-proxy's page of metrics is large, so it is not asked for from the beginning
	harness.Until(t, 2*time.Minute, "page of kube-proxy's that says that its rules are written", func() error {
		page, err := l.Node.Get("http://127.0.0.1:10249/metrics")
		for _, family := range []string{"IPv4", "IPv6"} {
			if err == nil {
				_, err = process.Metric(page, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", fmt.Sprintf("ip_family=%q", family))
			}
		}
		return err
	})
}
