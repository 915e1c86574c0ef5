// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

const (
	upstreamIP   = "192.168.9.2"
	upstreamAddr = upstreamIP + ":53"
)

var serverAddr = client.Port53(lab.LinkLocal)

// network is a node with the server, a pod with the client, and the upstream server outside. The server has a core, client
// and upstream server have another.
type network struct {
	pod, node, outside     *netns.Namespace
	serverCore, clientCore int
}

func newNetwork(h *harness.Host) *network {
	n := &network{pod: netns.New(h, "pod"), node: netns.New(h, "node"), outside: netns.New(h, "outside")}
	must(h, n.chooseCores())
	netns.Join(h, n.node, "veth-pod", []string{"10.244.1.1/24"}, n.pod, []string{"10.244.1.2/24"})
	netns.Join(h, n.node, "veth-out", []string{"192.168.9.1/24"}, n.outside, []string{upstreamIP + "/24"})
	n.node.Configure(h, "lo", []string{serverAddr.Addr().String() + "/32"})
	must(h, pin(n.node, n.serverCore))
	must(h, pin(n.pod, n.clientCore))
	must(h, pin(n.outside, n.clientCore))
	return n
}

func must(h *harness.Host, err error) {
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
func pin(n *netns.Namespace, core int) error {
	var set unix.CPUSet
	set.Set(core)
	err := n.Run(func() error { return unix.SchedSetaffinity(0, &set) })
	if err != nil {
		return fmt.Errorf("pinning %s to core %d: %w", n.Name, core, err)
	}
	return nil
}
