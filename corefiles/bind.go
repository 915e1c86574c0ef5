// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"net/netip"
	"slices"
)

// bindLink returns the edits that put the cache's addresses in the place of the link's name after bind. The plugin
// bind looks for the link before it is made: k8s-dns-node-cache makes its own before it reads the Corefile.
func (l layout) bindLink(p Params) (edits []edit) {
	blocks := slices.Clone(l.servers)
	for _, b := range l.snippets {
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		for _, d := range b.directives {
			if l.tokens[d.first].text == "bind" {
				edits = append(edits, l.bindLinkIn(d, p)...)
			}
		}
	}
	return edits
}

// bindLinkIn is bindLink for one directive. An address that stands there anyhow is not put in: bind would serve it twice.
func (l layout) bindLinkIn(d directive, p Params) (edits []edit) {
	tokens := l.tokens[d.first+1 : d.end]
	addrs := slices.DeleteFunc(slices.Clone(p.LocalIPs), func(a netip.Addr) bool {
		return slices.ContainsFunc(tokens, func(t token) bool { return t.text == a.String() })
	})
	for _, t := range tokens {
		if p.Link != "" && t.text == p.Link {
			edits = append(edits, edit{t.start, t.end, joinAddrs(addrs)})
		}
	}
	return edits
}
