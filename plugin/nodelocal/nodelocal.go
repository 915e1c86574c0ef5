// SPDX-License-Identifier: Apache-2.0

// Package nodelocal is the CoreDNS plugin that owns a node-local cache's piece of the node's network. It puts the cache's
// addresses on a link and steers DNS to them while, and only while, the cache answers.
package nodelocal

import (
	"context"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

// Nodelocal is the plugin's handler, in each server block of a Corefile that has the stanza. It answers the
// queries that the cache asks itself. It refuses a probe for loops that has come back too often, and passes on everything else.
type Nodelocal struct {
	Next plugin.Handler
	node *node
}

// Name implements plugin.Handler.
func (*Nodelocal) Name() string { return "nodelocal" }

// ServeDNS implements plugin.Handler. Self-queries are answered before any other plugin sees them, so no other
// plugin counts or logs them.
func (h *Nodelocal) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if isSelfQuery(r) {
		return dns.RcodeSuccess, w.WriteMsg(selfAnswer(r, h.node.token))
	}
	if h.node.loopCheck.Load().Note(w.RemoteAddr(), r) {
		return dns.RcodeRefused, nil
	}
	return plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
}

// Ready implements ready.Readiness. It returns true while every address is steered.
func (h *Nodelocal) Ready() bool { return h.node.ready.Load() }
