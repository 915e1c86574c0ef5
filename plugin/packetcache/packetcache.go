// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"context"
	"net"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

// Packetcache is the plugin's handler. It answers nothing: it tells a miss, on the way through the plugins, which server block
// the miss has come to.
type Packetcache struct {
	Next  plugin.Handler
	block blockInfo
}

// missKey is the context key of a *miss.
type missKey struct{}

// ServeDNS implements plugin.Handler.
func (p *Packetcache) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if m, ok := ctx.Value(missKey{}).(*miss); ok {
		w = m.pass(&p.block, w, r)
	} else if local, ok := w.LocalAddr().(*net.UDPAddr); ok && p.block.safe && fromStock(ctx) {
		listeners.Strayed(local.AddrPort())
	}
	return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, r)
}

// Name implements plugin.Handler.
func (p *Packetcache) Name() string { return "packetcache" }
