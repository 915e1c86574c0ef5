// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"context"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

// Packetcache is the plugin's handler. It answers nothing: it tells the miss
// that is on its way through the plugins which server block it came to.
type Packetcache struct {
	Next  plugin.Handler
	block block
}

// missKey is the context key of a *miss.
type missKey struct{}

// ServeDNS implements plugin.Handler.
func (p *Packetcache) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if m, ok := ctx.Value(missKey{}).(*miss); ok {
		w = m.enter(&p.block, w, r)
	} else if s, ok := ctx.Value(dnsserver.Key{}).(*dnsserver.Server); ok && p.block.safe {
		strayed(s.Addr, w)
	}
	return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, r)
}

// Name implements plugin.Handler.
func (p *Packetcache) Name() string { return "packetcache" }
