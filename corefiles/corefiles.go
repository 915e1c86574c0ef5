// SPDX-License-Identifier: Apache-2.0

// Package corefiles makes the Corefile that runs: out of a template, what the flags say, resolv.conf and the
// kube-dns ConfigMap.
//
// The template is edited, not rewritten. It is somebody's ConfigMap, written for k8s-dns-node-cache perhaps, and
// must mean to CoreDNS what it meant before; so only variables are replaced, and blocks and the nodelocal stanza
// are added. Everything that cannot become a working Corefile is refused here with the file, the line and the
// cause, since the same text would otherwise fail in CoreDNS, at start, on every node at once.
package corefiles

import (
	_ "embed" // for the templates
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

// Kubernetes is the template used in a cluster: cluster names go to the cluster DNS over TCP, others to the
// node's nameservers.
//
//go:embed kubernetes.corefile
var Kubernetes []byte

// Standalone is the template for a host without a cluster: all names go to its nameservers.
//
//go:embed standalone.corefile
var Standalone []byte

// maxSize bounds the template, and each key of the ConfigMap. Kubernetes stores no ConfigMap beyond 1 MiB.
const maxSize = 1 << 20

// Template is a Corefile with variables. Path is only for messages.
type Template struct {
	Path string
	Text []byte
}

// ResolvConf is a resolv.conf file as it was read.
type ResolvConf struct {
	Path string
	Text []byte
}

// Params is everything besides the template that Render looks at.
type Params struct {
	LocalIPs           []netip.Addr   // addresses that the cache listens on
	Link               string         // name of the link that will have them; empty: they are somebody else's
	ClusterDNS         netip.Addr     // ClusterIP of UpstreamService; zero if its environment variable is not set
	UpstreamService    string         // name of that Service, for messages
	ClusterDomain      string         // such as cluster.local
	PrometheusEndpoint string         // such as :9253
	StateDir           string         // directory for what outlives the process; empty: none
	Memory             memlimit.Limit // of the process; the sizes of caches that the template leaves open follow from it
	ResolvConf         ResolvConf
	KubeDNS            KubeDNS
	Stanza             Stanza // inserted if the template has no nodelocal stanza
	PacketCache        bool   // put packetcache into the server blocks that have none
	Port               uint16 // port of server blocks that name none; 0 means 53
	Path               string // where the result is read: what it imports is found from there; empty: in the working directory
}

// Result is a rendered Corefile. Warnings are what its operator should hear of although it works.
type Result struct {
	Text     []byte
	Warnings []string
}

func (p Params) port() uint16 {
	if p.Port == 0 {
		return 53
	}
	return p.Port
}

// isLocal reports whether the cache listens on addr, so that a query sent there comes back.
func (p Params) isLocal(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, ip := range p.LocalIPs {
		if ip.Unmap() == addr {
			return true
		}
	}
	return false
}
