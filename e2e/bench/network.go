// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

const (
	upstreamIP   = "192.168.9.2"
	upstreamAddr = upstreamIP + ":53"
	podLink      = "veth-pod"   // on the node
	nodeIP       = "10.244.1.1" // there
)

var serverAddr = client.Port53(lab.LinkLocal)

// network is a node with the server, a pod with the client, and the upstream server outside. The server has a core. Client
// and upstream server share another one.
type network struct {
	pod, node, outside     *netns.Namespace
	serverCore, clientCore int
}

// newNetwork makes the network and starts the upstream server. The server's address is on the loopback link unless the server
// gives itself its address.
func newNetwork(h *harness.Host, ownAddress bool) *network {
	n := &network{pod: netns.New(h, "pod"), node: netns.New(h, "node"), outside: netns.New(h, "outside")}
	n.clientCore, n.serverCore = netns.Cores(h)
	connect(h, n.node, podLink, nodeIP, n.pod, "10.244.1.2")
	connect(h, n.node, "veth-out", "192.168.9.1", n.outside, upstreamIP)
	n.node.ResolvConf(h, "nameserver "+upstreamIP+"\n")
	if !ownAddress {
		ip(h, n.node, fmt.Sprintf("addr add %s/32 dev lo", serverAddr.Addr()))
	}
	n.node.Pin(h, n.serverCore)
	n.pod.Pin(h, n.clientCore)
	n.outside.Pin(h, n.clientCore)
	process.Start(h, n.outside, process.Command{Path: self(h), Args: []string{"upstream", upstreamAddr}, Env: environment(nil)})
	return n
}

func must(h *harness.Host, err error) {
	if err != nil {
		h.Fatal(err)
	}
}

// connect joins node and other by a veth, called eth0 in other, which has its default route over it.
func connect(h *harness.Host, node *netns.Namespace, name, nodeIP string, other *netns.Namespace, otherIP string) {
	thread := 0 // of the other namespace
	must(h, other.Run(func() error {
		thread = unix.Gettid()
		return nil
	}))
	ip(h, node,
		fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/ns/net", name, thread),
		fmt.Sprintf("addr add %s/24 dev %s", nodeIP, name), "link set "+name+" up")
	ip(h, other, fmt.Sprintf("addr add %s/24 dev eth0", otherIP), "link set eth0 up", "route add default via "+nodeIP)
}

// ip runs commands of ip(8) in the namespace.
func ip(h *harness.Host, n *netns.Namespace, commands ...string) {
	for _, c := range commands {
		n.Exec(h, "", "ip", strings.Fields(c)...)
	}
}
