// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The cluster's addresses. Nobody routes to anywhere else: the nodes' default gateway is the fabric, where nothing but a
// resolver is.
const (
	nodes       = 2
	gateway     = "10.89.0.1"
	gatewayTwo  = "10.89.0.2" // where another resolver is
	gateway6    = "fd00:10:89::1"
	podNets     = "10.244.0.0/16"
	podNets6    = "fd00:10:244::/48"
	serviceNet  = "10.96.0.0/16"
	serviceNet6 = "fd00:10:96::/112"
	// What the two resolvers say of example.org.
	outsideIP    = "198.51.100.7"
	outsideIPTwo = "198.51.100.8"
	// DNSService and DNSService6 are the ClusterIPs of kube-dns.
	DNSService  = "10.96.0.10"
	DNSService6 = "fd00:10:96::a"
	// LinkLocal is the cache's own address.
	LinkLocal = "169.254.20.10"
)

func nodeName(i int) string { return fmt.Sprintf("node%d", i+1) }
func nodeIP(i int) net.IP   { return net.IPv4(10, 89, 0, byte(11+i)).To4() }
func nodeIP6(i int) net.IP  { return net.ParseIP(fmt.Sprintf("fd00:10:89::%d", 11+i)) }
func podNet(i int) string   { return fmt.Sprintf("10.244.%d.0/24", i+1) }
func podNet6(i int) string  { return fmt.Sprintf("fd00:10:244:%d::/64", i+1) }

// makeFabric makes the switch that the nodes' cables end in.
func (c *Cluster) makeFabric(t testing.TB) {
	t.Helper()
	c.fabric.Sysctl(t, "net.ipv6.conf.all.disable_ipv6", "0")
	c.fabric.Sysctl(t, "net.ipv6.conf.default.disable_ipv6", "0")
	err := c.fabric.Run(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "fabric"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return err
		}
		return addAddresses(netlink.AddrAdd, bridge, gateway+"/24", gatewayTwo+"/24", gateway6+"/64")
	})
	if err != nil {
		t.Fatalf("making the fabric: %v", err)
	}
}

// plug connects a node's namespace to the fabric, as its eth0.
func (c *Cluster) plug(i, pid int) error {
	return c.fabric.Run(func() error {
		bridge, err := netlink.LinkByName("fabric")
		if err != nil {
			return err
		}
		cable := netlink.NewVeth(netlink.LinkAttrs{Name: nodeName(i), MasterIndex: bridge.Attrs().Index})
		cable.PeerName, cable.PeerNamespace = "eth0", netlink.NsPid(pid)
		if err := netlink.LinkAdd(cable); err != nil {
			return err
		}
		return netlink.LinkSetUp(cable)
	})
}

// connect gives the nodes their addresses, and everybody the routes to the pods of all.
func (c *Cluster) connect(t testing.TB) {
	t.Helper()
	for i, n := range c.Nodes {
		if err := c.plug(i, n.pid); err != nil {
			t.Fatalf("connecting %s: %v", n.Name, err)
		}
		if err := c.configure(i, n.pid); err != nil {
			t.Fatalf("configuring %s: %v", n.Name, err)
		}
	}
	for i := range c.Nodes {
		if err := c.fabric.Run(func() error { return addPodRoutes(netlink.RouteAdd, i) }); err != nil {
			t.Fatalf("adding routes to pods: %v", err)
		}
	}
}

func (c *Cluster) configure(i, pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
		if name == "lo" {
			continue
		}
		if err := addAddresses(h.AddrAdd, link, nodeIP(i).String()+"/24", nodeIP6(i).String()+"/64"); err != nil {
			return err
		}
	}
	for _, gw := range []string{gateway, gateway6} {
		if err := h.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}); err != nil {
			return fmt.Errorf("adding the route through %s: %w", gw, err)
		}
	}
	for j := range nodes {
		if j == i {
			continue
		}
		if err := addPodRoutes(h.RouteAdd, j); err != nil {
			return err
		}
	}
	return nil
}

// addAddresses adds addresses that can be used at once.
func addAddresses(add func(netlink.Link, *netlink.Addr) error, link netlink.Link, all ...string) error {
	for _, one := range all {
		addr, err := netlink.ParseAddr(one)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := add(link, addr); err != nil {
			return fmt.Errorf("adding %s: %w", one, err)
		}
	}
	return nil
}

// addPodRoutes adds the routes to the pods of node i.
func addPodRoutes(add func(*netlink.Route) error, i int) error {
	for network, gw := range map[string]net.IP{podNet(i): nodeIP(i), podNet6(i): nodeIP6(i)} {
		_, dst, err := net.ParseCIDR(network)
		if err != nil {
			return err
		}
		if err := add(&netlink.Route{Dst: dst, Gw: gw}); err != nil {
			return fmt.Errorf("adding the route to %s: %w", network, err)
		}
	}
	return nil
}
