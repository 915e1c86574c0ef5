// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// port is where the command looks for servers if it can ask no cache.
const port = 53

// A kernel is what the kernel says of DNS on this node.
type kernel struct {
	Found   []string // instances, links, rules and tables of ours
	Servers []string // who listens at port 53
	Errors  []error  // of what could not be looked at
}

// look asks the kernel, and changes nothing.
func look() *kernel {
	found, err := hostnet.Look(hostnet.DefaultInterface)
	k := &kernel{Found: found}
	if err != nil {
		k.Errors = append(k.Errors, err)
	}
	for _, network := range []string{"udp", "tcp"} {
		all, err := sockets.List(network)
		if err != nil {
			k.Errors = append(k.Errors, err)
		}
		for _, s := range all {
			if !s.Bound || s.Local.Port() != port {
				continue
			}
			if who := sockets.Holder(network, s.Local); who != "" && !slices.Contains(k.Servers, who) {
				k.Servers = append(k.Servers, who)
			}
		}
	}
	return k
}

func (k *kernel) lines() (out []string) {
	out = append(out, k.Found...)
	if len(k.Found) == 0 {
		out = append(out, "there is no link, rule or table of a cache")
	}
	out = append(out, k.Servers...)
	if len(k.Servers) == 0 {
		out = append(out, "nobody listens at port 53")
	}
	for _, err := range k.Errors {
		out = append(out, "not everything could be looked at: "+err.Error())
	}
	return out
}
