// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// port is where the command looks for servers if it can ask no cache.
const port = 53

// A kernel is what the kernel says of DNS on this node.
type kernel struct {
	instances []string // who the caches are that run
	found     []string // links, rules and tables of ours
	servers   []string // who listens at port 53
	errors    []error  // of what could not be looked at
}

// look asks the kernel, and changes nothing.
func look() *kernel {
	instances, found, err := hostnet.Look(hostnet.DefaultInterface)
	k := &kernel{instances: instances, found: found}
	if err != nil {
		k.errors = append(k.errors, err)
	}
	for _, network := range []string{"udp", "tcp"} {
		all, err := sockets.List(network)
		if err != nil {
			k.errors = append(k.errors, err)
		}
		seen := map[netip.AddrPort]bool{} // Holder looks at the descriptors of all processes
		for _, s := range all {
			if !s.Bound || s.Local.Port() != port || seen[s.Local] {
				continue
			}
			seen[s.Local] = true
			if who := sockets.Holder(network, s.Local); who != "" && !slices.Contains(k.servers, who) {
				k.servers = append(k.servers, who)
			}
		}
	}
	return k
}

func (k *kernel) lines() (out []string) {
	for _, who := range k.instances {
		out = append(out, "an instance runs: "+who)
	}
	out = append(out, k.found...)
	if len(k.found) == 0 {
		out = append(out, "there is no link, rule or table of a cache")
	}
	out = append(out, k.servers...)
	if len(k.servers) == 0 {
		out = append(out, "nobody listens at port 53")
	}
	for _, err := range k.errors {
		out = append(out, "not everything could be looked at: "+err.Error())
	}
	return out
}
