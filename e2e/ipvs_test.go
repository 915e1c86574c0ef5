// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// newIPVS is a node whose kube-proxy is Kubernetes' own, in IPVS mode: there the cache has an address of its own and no other.
func newIPVS(t *testing.T) *lab.Lab {
	t.Helper()
	harness.Require(t)
	lab.NeedsKernel(t, lab.HasKubeProxy())
	return lab.New(t, lab.IPVS)
}

// TestIPVS lets all events happen where kube-proxy runs in IPVS mode: what asks the cache's address goes to the cluster DNS's
// ClusterIP while the cache is away. Reverse path filters are strict.
func TestIPVS(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			o := options{firewall: firewall, addrs: told(firewall, []netip.Addr{lab.LinkLocal, lab.LinkLocal6})}
			starts := 1
			if firewall == lab.NFTables { // the one with the least to emulate
				starts = 10
			}
			happen(t, newIPVS(t), o, events(starts))
		})
	}
}

// manifestArgs is the arguments in a DaemonSet of the overlays for IPVS mode. e2e/vm has asked the API server for them.
func manifestArgs(t *testing.T, daemonSet string) []string {
	t.Helper()
	args := strings.Fields(readFile(t, filepath.Join(os.Getenv("MANIFEST_ARGS"), daemonSet)))
	if len(args) == 0 {
		t.Fatalf("no arguments of %s", daemonSet)
	}
	return args
}

// manifest is the cache as the overlay ipvs runs it, with its template; localIP, if not empty, takes the place of the overlay's.
func manifest(t *testing.T, localIP string, addrs ...netip.Addr) options {
	t.Helper()
	line := manifestArgs(t, "node-local-dns")
	if at := slices.Index(line, "-localip") + 1; localIP != "" {
		line[at] = localIP
	}
	return options{firewall: lab.IPTablesNFT, addrs: addrs, line: line}
}

// TestIPVSNode is the life of a node: the cache comes by the overlay, is named to new pods, dies, is updated and goes. Pods of each
// time ask all along.
func TestIPVSNode(t *testing.T) {
	l := newIPVS(t)
	before := l.Node.State(t)
	k := newNodeConfig(t, l, lab.ClusterIP)
	older := client.StartAll(t, tagged("older", inPod(clients(l, k.nameserver(t))))...)
	progress(t, older, 4)
	k.refuses(t)

	c := start(t, l, manifest(t, "", lab.LinkLocal))
	k.changes(t, "on")
	newer := client.StartAll(t, tagged("newer", clients(l, k.nameserver(t)))...)
	progress(t, newer, 5)
	bothServe(t, c)
	if told := k.nameserver(t); told != lab.LinkLocal {
		t.Errorf("new pods ask %s", told)
	}

	kill := c.kill(t)
	progress(t, newer, 5)
	c = c.again(t)
	progress(t, newer, 5)

	next := launch(t, l, c.options) // the update
	next.WaitOutput(t, steeringTimeout, "Steering on: 169.254.20.10")
	progress(t, newer, 5)
	c.term(t)
	progress(t, newer, 5)
	bothServe(t, next)

	k.changes(t, "off")
	if told := k.nameserver(t); told != lab.ClusterIP {
		t.Errorf("after kubelet-off new pods ask %s", told)
	}
	next.term(t)
	progress(t, newer, 5)
	progress(t, older, 5)
	onlyFallback(t, next, before)
	reports := stop(t, newer)
	inFlightOnly(t, reports, newer, []client.Window{kill})
	noFailure(t, stop(t, older))
	cleaned(t, l, before)
}

// inPod is the clients in the pod: in emulation there is not the power for all beside kube-proxy.
func inPod(probes []client.Probe) []client.Probe {
	return slices.DeleteFunc(probes, func(p client.Probe) bool { return p.From.Name != "pod" })
}

// tagged gives probes names of their own.
func tagged(tag string, probes []client.Probe) []client.Probe {
	for i := range probes {
		probes[i].Name = client.Unique(tag + "-" + string(rune('a'+i)))
	}
	return probes
}

// TestIPVSProxy restarts kube-proxy, and changes its mode to nftables and back, as Kubernetes advises everybody in IPVS mode to do. The
// cache finds its addresses by itself.
func TestIPVSProxy(t *testing.T) {
	l := newIPVS(t)
	c := start(t, l, manifest(t, "auto", lab.LinkLocal))
	c.said(t, "Local addresses 169.254.20.10: kube-proxy in IPVS mode; name it to the pods")
	known := client.Probe{From: l.Pod, Target: lab.LinkLocal, Interval: interval, Timeout: patience, Name: client.Always("web.default.svc.cluster.local.")}
	knows := known.Start(t)
	loads := client.StartAll(t, inPod(clients(l, lab.LinkLocal, lab.ClusterIP))...)
	progress(t, loads, 5)

	l.Proxy.Signal(t, syscall.SIGKILL)
	l.Proxy.Wait(t, 10*time.Second)
	progress(t, loads, 4)
	l.RunKubeProxy(t, lab.IPVS)
	l.WaitKubeProxy(t, lab.IPVS)
	progress(t, loads, 4)
	noFailure(t, stop(t, loads))

	loads = client.StartAll(t, inPod(clients(l, lab.LinkLocal, lab.ClusterIP))...)
	progress(t, loads, 4)
	gap := changeMode(t, l, lab.NFTables)
	progress(t, loads, 5)
	changed(t, loads, gap)
	c.term(t)
	c = start(t, l, manifest(t, "auto", lab.LinkLocal, lab.ClusterIP))
	c.said(t, "Local addresses 169.254.20.10 10.96.0.10: kube-proxy in nftables mode")
	bothServe(t, c)

	loads = client.StartAll(t, inPod(clients(l, lab.LinkLocal, lab.ClusterIP))...)
	progress(t, loads, 4)
	gap = changeMode(t, l, lab.IPVS)
	// The ClusterIP is on both links now, and kube-proxy's has the packets: also if kube-proxy comes later than -localip auto waits.
	c.metricIs(t, 0, "coredns_nodelocal_steering", `address="10.96.0.10"`)
	c.metricIs(t, 1, "coredns_nodelocal_steering", `address="169.254.20.10"`)
	progress(t, loads, 5)
	changed(t, loads, gap)
	c.term(t)
	c = start(t, l, manifest(t, "auto", lab.LinkLocal))
	c.said(t, "Local addresses 169.254.20.10: kube-proxy in IPVS mode")
	progress(t, []*client.Load{knows}, 5)
	noFailure(t, stop(t, []*client.Load{knows}))
}

// changeMode ends kube-proxy and starts it in another mode. It returns the time in which kube-proxy took the old rules away and wrote the
// new ones.
func changeMode(t *testing.T, l *lab.Lab, mode lab.Backend) client.Window {
	t.Helper()
	l.Proxy.Signal(t, syscall.SIGTERM)
	l.Proxy.Wait(t, time.Minute)
	gap := client.Window{Begin: time.Now()}
	l.RunKubeProxy(t, mode)
	l.WaitKubeProxy(t, mode)
	gap.End = time.Now()
	return gap
}

// changed checks that queries failed only while kube-proxy changed its mode.
func changed(t *testing.T, loads []*client.Load, gap client.Window) {
	t.Helper()
	for _, r := range stop(t, loads) {
		t.Logf("kube-proxy changed its mode from %s to %s: %s", clock(gap.Begin), clock(gap.End), r)
		around := client.Window{Begin: gap.Begin.Add(-flight(r)), End: gap.End}
		if lost := r.Outside(around); len(lost.Failures) > 0 {
			t.Errorf("lost at another time: %s", lost)
		}
	}
}
