// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
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
	ctx, w = busiest.Process.Handle(ctx, w, r)
	return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, r)
}

// Name implements plugin.Handler.
func (p *Packetcache) Name() string { return "packetcache" }

// A miss is a query on its way through the plugins, and the writer of its answer.
type miss struct {
	capture.Writer // of the addresses; miss has its own methods to write
	server         *server
	sender         netip.AddrPort
	mark           busiest.Mark // its client holds the place
	query          []byte
	key            []byte // nil: the query has an unusual form, and the answer is not kept

	request *dns.Msg
	block   atomic.Pointer[blockInfo] // of the server block that got the query; nil: a block without the plugin
	unsafe  atomic.Bool               // a block that is not safe had a part in the answer
	size    int                       // of the answer, where the prometheus plugin counts it
	written bool
}

// ask asks the plugins, and gives the place back.
func (m *miss) ask() {
	defer m.server.queries.Done()
	defer m.server.places.Leave(m.mark.Client)
	r := new(dns.Msg)
	if err := r.Unpack(m.query); err != nil {
		_ = m.WriteMsg(malformed(r)) // serveDNS ignores this error, too
		return
	}
	m.request = r
	if m.key != nil {
		m.mark.Name = wire.Name(m.key)
	} else {
		m.mark.Name = busiest.NameOf(r)
	}
	m.server.dns.ServeDNS(&missContext{m.server.ctx, m}, m, r)
}

// A missContext is the context of a miss.
type missContext struct {
	context.Context
	m *miss
}

// Value implements context.Context.
func (c *missContext) Value(key any) any {
	switch key.(type) {
	case missKey:
		return c.m
	case busiest.MarkKey:
		return &c.m.mark
	}
	return c.Context.Value(key)
}

// pass is called by the handler of each server block that a message passes, and returns the writer for the handlers behind it.
// r may be another message than the client's query. A block may ask another block, or itself, while it answers. The plugin cache
// asks once more, after the answer, for a record that expires soon.
func (m *miss) pass(b *blockInfo, w dns.ResponseWriter, r *dns.Msg) dns.ResponseWriter {
	if !b.safe {
		m.unsafe.Store(true)
	}
	if r != m.request {
		return w
	}
	m.block.Store(b)
	return &sizer{w, m}
}

// A sizer records the size of an answer before the server adds the OPT record.
type sizer struct {
	dns.ResponseWriter
	m *miss
}

// WriteMsg implements dns.ResponseWriter.
func (s *sizer) WriteMsg(r *dns.Msg) error {
	s.m.size = r.Len()
	return s.ResponseWriter.WriteMsg(r)
}

// Write implements dns.ResponseWriter.
func (s *sizer) Write(data []byte) (int, error) {
	s.m.size = len(data)
	return s.ResponseWriter.Write(data)
}

// WriteMsg implements dns.ResponseWriter.
func (m *miss) WriteMsg(r *dns.Msg) (err error) {
	var data []byte
	if r.IsTsig() != nil {
		data, _, err = dns.TsigGenerateWithProvider(r, noSecrets{}, "", false) // who does not sign needs no MAC of the query
	} else {
		data, err = r.Pack()
	}
	if err != nil {
		return err
	}
	m.send(data)
	return nil
}

// Write implements dns.ResponseWriter.
func (m *miss) Write(data []byte) (int, error) {
	m.send(bytes.Clone(data)) // the caller may use data again
	return len(data), nil
}

// send sends an answer, and keeps the first one. If the kernel refuses the answer, send counts it, as with a packet that the network
// loses.
func (m *miss) send(data []byte) {
	if err := m.server.lease.Send(data, m.sender); err != nil {
		m.server.unsent.Inc()
	}
	if m.written {
		return
	}
	m.written = true
	if len(data) >= wire.HeaderLen {
		busiest.Process.Answered(&m.mark, wire.Rcode(data))
	}
	if b := m.block.Load(); m.key != nil && b != nil && !m.unsafe.Load() {
		m.keep(data, b)
	}
}

// keep stores an answer that may be kept, and with it data.
func (m *miss) keep(data []byte, b *blockInfo) {
	a, ok := wire.ReadAnswer(data, m.key)
	if !ok || b.rotates && a.Shuffled {
		return
	}
	if cap(data) > len(data)+len(data)/4 { // miekg/dns makes room for the answer without compression, and the store counts the answer
		data = bytes.Clone(data)
	}
	now := udp.Clock()
	m.server.store.Put(&store.Entry{
		Key: m.key, Wire: data, TTLs: a.TTLs, Stored: now, Expires: now + min(a.TTL/4, m.server.ttl), Ends: now + a.TTL,
		Value: &origin{query: len(m.query), size: m.size, block: b, server: m.server},
	})
}

// An origin is the value of an entry: what the metrics need to know of the answer.
type origin struct {
	query    int // length of the query that was answered
	size     int // of the answer, as the prometheus plugin counts it
	block    *blockInfo
	server   *server                  // that has the entry
	hits     atomic.Uint32            // by the process, up to kernelHits
	counters atomic.Pointer[counters] // made for the first hit; nil: not yet
}

// TsigStatus implements dns.ResponseWriter. A server without secrets verifies no signature.
func (m *miss) TsigStatus() error {
	if m.request.IsTsig() == nil {
		return nil
	}
	return dns.ErrSecret
}
