// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
)

const (
	upstreamIP   = "192.168.9.2"
	upstreamAddr = upstreamIP + ":53"
)

var serverAddr = lab.Port53(lab.LinkLocal)

// network is a node with the server, a pod with the client, and the upstream server outside. The server has a core, client
// and upstream server have another.
type network struct {
	pod, node, outside     *lab.Namespace
	serverCore, clientCore int
}

func newNetwork(h *lab.Host) *network {
	n := &network{pod: lab.NewNamespace(h, "pod"), node: lab.NewNamespace(h, "node"), outside: lab.NewNamespace(h, "outside")}
	must(h, n.chooseCores())
	must(h, connect(n.node, "veth-pod", "10.244.1.1/24", n.pod, "10.244.1.2/24"))
	must(h, connect(n.node, "veth-out", "192.168.9.1/24", n.outside, upstreamIP+"/24"))
	must(h, n.node.Run(func() error { return addAddress("lo", serverAddr.Addr().String()+"/32") }))
	must(h, pin(n.node, n.serverCore))
	must(h, pin(n.pod, n.clientCore))
	must(h, pin(n.outside, n.clientCore))
	return n
}

func must(h *lab.Host, err error) {
	if err != nil {
		h.Fatal(err)
	}
}

// chooseCores takes the last and the first, as the machine's own interrupts mostly go to the first.
func (n *network) chooseCores() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("asking for the cores: %w", err)
	}
	if set.Count() < 2 {
		return errors.New("server and client need a core each, and there is one only")
	}
	var cores []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	n.clientCore, n.serverCore = cores[0], cores[len(cores)-1]
	return nil
}

// pin lets the programs that are started in the namespace from now on run on one core only.
func pin(n *lab.Namespace, core int) error {
	var set unix.CPUSet
	set.Set(core)
	err := n.Run(func() error { return unix.SchedSetaffinity(0, &set) })
	if err != nil {
		return fmt.Errorf("pinning %s to core %d: %w", n.Name, core, err)
	}
	return nil
}

// connect joins node and other by a veth, called eth0 in other, which has its default route there.
func connect(node *lab.Namespace, name, nodeAddr string, other *lab.Namespace, otherAddr string) error {
	var peer netns.NsHandle
	err := other.Run(func() (err error) {
		peer, err = netns.GetFromPath("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return fmt.Errorf("opening %s: %w", other.Name, err)
	}
	defer peer.Close()
	err = node.Run(func() error {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: name})
		veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(int(peer))
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return addAddress(name, nodeAddr)
	})
	if err != nil {
		return fmt.Errorf("adding %s: %w", name, err)
	}
	return other.Run(func() error {
		if err := addAddress("eth0", otherAddr); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IP(netip.MustParsePrefix(nodeAddr).Addr().AsSlice())})
	})
}

// addAddress gives a link of the thread's namespace an address, and takes it up.
func addAddress(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("looking up %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("adding %s to %s: %w", address, name, err)
	}
	return netlink.LinkSetUp(link)
}
