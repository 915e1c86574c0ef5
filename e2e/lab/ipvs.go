// SPDX-License-Identifier: Apache-2.0

package lab

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// IPVS is the mode of kube-proxy in which one link has every ClusterIP, and the kernel's load balancer takes the packets to
// these addresses. The cache has no such backend.
const IPVS Backend = "ipvs"

//go:embed kubeproxy.ipvs
var kubeProxyIPVS string

// ipvsLink is the name of that link.
const ipvsLink = "kube-ipvs0"

// ipvsSysctls are what kube-proxy sets in this mode.
var ipvsSysctls = [][2]string{
	{"net.ipv4.vs.conntrack", "1"}, {"net.ipv4.vs.conn_reuse_mode", "0"},
	{"net.ipv4.vs.expire_nodest_conn", "1"}, {"net.ipv4.vs.expire_quiescent_template", "1"},
}

// HasIPVS is nil if IPVS can be used here, and else says why not.
func HasIPVS(t testing.TB) error {
	t.Helper()
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		return err
	}
	if out, err := netns.New(t, "scratch").Output("", "ipvsadm", "-Ln"); err != nil {
		return fmt.Errorf("ipvsadm: %w: %s", err, out)
	}
	return nil
}

// startIPVS sets up what kube-proxy sets up in this mode.
func (l *Lab) startIPVS(t testing.TB) {
	t.Helper()
	link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: ipvsLink}} // it stays down
	if err := l.Node.Netlink.LinkAdd(link); err != nil {
		t.Fatalf("adding %s: %v", ipvsLink, err)
	}
	for _, s := range ipvsSysctls {
		l.Node.Sysctl(t, s[0], s[1])
	}
	for _, f := range families {
		l.startIPVSFamily(t, link, f)
	}
}

func (l *Lab) startIPVSFamily(t testing.TB, link netlink.Link, f family) {
	t.Helper()
	rules := struct {
		family
		ServiceSet, AddressSet, Loopback string
	}{f, "KUBE-CLUSTER-IP", "KUBE-IPVS-IPS", "127.0.0.0/8"}
	inet := "inet"
	if f.Pods.Addr().Is6() {
		rules.ServiceSet, rules.AddressSet, rules.Loopback, inet = "KUBE-6-CLUSTER-IP", "KUBE-6-IPVS-IPS", "::1/128", "inet6"
	}
	var sets, services strings.Builder
	fmt.Fprintf(&sets, "create %s hash:ip,port family %s\ncreate %s hash:ip family %s\n", rules.ServiceSet, inet, rules.AddressSet, inet)
	carried := map[netip.Addr]bool{}
	for _, s := range f.Services {
		fmt.Fprintf(&sets, "add %s %s,%s:53\n", rules.ServiceSet, s.IP, s.Proto)
		service := fmt.Sprintf("-%c %s", s.Proto[0], client.Port53(s.IP))
		fmt.Fprintf(&services, "-A %s -s rr\n-a %s -r %s -m\n", service, service, f.Target)
		if carried[s.IP] {
			continue
		}
		carried[s.IP] = true
		fmt.Fprintf(&sets, "add %s %s\n", rules.AddressSet, s.IP)
		if err := l.Node.Netlink.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(s.IP.AsSlice())}); err != nil {
			t.Fatalf("adding %s to %s: %v", s.IP, ipvsLink, err)
		}
	}
	l.Node.Exec(t, sets.String(), "ipset", "restore")
	l.Node.Exec(t, services.String(), "ipvsadm", "-R")
	l.Node.Exec(t, render(t, kubeProxyIPVS, rules), f.IPTables+"-nft-restore", "--noflush")
}
