// SPDX-License-Identifier: Apache-2.0

// Package corefiles makes the Corefile that runs, from a template, the flags, resolv.conf and the kube-dns ConfigMap.
//
// The template is edited, not rewritten. It may be a ConfigMap that was written for k8s-dns-node-cache, and its directives must
// keep their meaning. So Render replaces variables, and adds server blocks and the nodelocal stanza. Render refuses a template
// that cannot become a working Corefile, and names the file, the line and the cause. Otherwise CoreDNS would refuse the text
// when it starts, on every node at once.
package corefiles

import (
	"cmp"
	_ "embed" // for the templates
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
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

// Template is a Corefile with variables. Messages name Path.
type Template struct {
	Path string
	Text []byte
}

// ResolvConf is the content of a resolv.conf file.
type ResolvConf struct {
	Path string
	Text []byte
}

// Params is the input of Render beside the template.
type Params struct {
	LocalIPs           []netip.Addr   // addresses that the cache listens on
	Link               string         // name of the link that will hold LocalIPs; empty: another program holds them
	ClusterDNS         netip.Addr     // ClusterIP of UpstreamService; zero if its environment variable is not set
	UpstreamService    string         // name of the Service, for messages
	ClusterDomain      string         // such as cluster.local
	PrometheusEndpoint string         // such as :9253
	StateDir           string         // directory for files that outlive the process; empty: none
	Memory             memlimit.Limit // limit of the process; the variables for cache sizes depend on it
	ResolvConf         ResolvConf
	KubeDNS            kubedns.Config
	Stanza             Stanza // inserted if the template has no nodelocal stanza
	PacketCache        bool   // put packetcache into the server blocks that have none
	Port               uint16 // port of server blocks that name none; 0 means 53
	Path               string // path of the result: relative imports begin in its directory; empty: in the working directory
}

// Result is a rendered Corefile. Warnings name faults that the Corefile works with.
type Result struct {
	Text     []byte
	Warnings []string
}

func (p Params) port() uint16 { return cmp.Or(p.Port, 53) }

// isLocal reports whether the cache listens on addr. A query that the cache sends there would come back.
func (p Params) isLocal(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p.LocalIPs, func(ip netip.Addr) bool { return ip.Unmap() == addr })
}
