// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// A miss is a query on its way through the plugins, and the writer of its answer.
type miss struct {
	server *server
	client netip.Addr // holds the place
	remote *net.UDPAddr
	query  []byte
	key    []byte // nil: the query has an unusual form, and the answer is not kept
	hash   uint64

	request *dns.Msg
	block   atomic.Pointer[blockInfo] // of the server block that got the query; nil: a block without the plugin
	unsafe  atomic.Bool               // a block that is not safe had a part in the answer
	size    int                       // of the answer, where the prometheus plugin counts it
	written bool

	tsigStatus error
	tsigMAC    string // of the query; after an answer, of the last answer
	tsigTimers bool
}

// ask asks the plugins, and gives the place back.
func (m *miss) ask() {
	defer m.server.places.Leave(m.client)
	r := new(dns.Msg)
	if err := r.Unpack(m.query); err != nil {
		_ = m.WriteMsg(malformed(r)) // serveDNS ignores this error, too
		return
	}
	if t := r.IsTsig(); t != nil {
		m.tsigMAC = t.MAC
		m.tsigStatus = dns.TsigVerifyWithProvider(m.query, noSecrets{}, "", false)
	}
	m.request = r
	m.server.dns.ServeDNS(context.WithValue(m.server.ctx, missKey{}, m), m, r)
}

// pass is called by the handler of each server block that a message passes, and returns the writer for the handlers behind it.
// r need not be the client's query: on its way to the answer a server block, also one without the plugin, can ask another block
// or itself; and the plugin cache asks again, behind the answer, for a record that runs out soon.
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
		data, m.tsigMAC, err = dns.TsigGenerateWithProvider(r, noSecrets{}, m.tsigMAC, m.tsigTimers)
	} else {
		data, err = r.Pack()
	}
	if err != nil {
		return err
	}
	_, err = m.Write(data)
	return err
}

// Write implements dns.ResponseWriter. It keeps the first answer. An answer that the kernel does not take is counted, but is no
// error: neither is a packet that the network loses.
func (m *miss) Write(data []byte) (int, error) {
	if err := m.server.lease.Send(data, m.remote); err != nil {
		m.server.unsent.Inc()
	}
	if b := m.block.Load(); !m.written && m.key != nil && b != nil && !m.unsafe.Load() {
		m.keep(data, b)
	}
	m.written = true
	return len(data), nil
}

// keep stores an answer that may be kept.
func (m *miss) keep(data []byte, b *blockInfo) {
	a, ok := wire.ReadAnswer(data, m.key)
	if !ok || b.rotates && a.Shuffled {
		return
	}
	now := udp.Clock()
	m.server.store.Put(&store.Entry{
		Key: m.key, Hash: m.hash, Wire: bytes.Clone(data), TTLs: a.TTLs, Stored: now, Expires: now + min(a.TTL/4, m.server.ttl), Ends: now + a.TTL,
		Value: &origin{query: len(m.query), size: m.size, block: b},
	})
}

// An origin is the value of an entry: what the metrics need to know of the answer.
type origin struct {
	query    int // length of the query that was answered
	size     int // of the answer, as the prometheus plugin counts it
	block    *blockInfo
	counters atomic.Pointer[counters] // made for the first hit; nil: not yet
}

// LocalAddr implements dns.ResponseWriter.
func (m *miss) LocalAddr() net.Addr { return m.server.lease.Addr() }

// RemoteAddr implements dns.ResponseWriter.
func (m *miss) RemoteAddr() net.Addr { return m.remote }

// Close implements dns.ResponseWriter.
func (m *miss) Close() error { return nil }

// TsigStatus implements dns.ResponseWriter.
func (m *miss) TsigStatus() error { return m.tsigStatus }

// TsigTimersOnly implements dns.ResponseWriter.
func (m *miss) TsigTimersOnly(b bool) { m.tsigTimers = b }

// Hijack implements dns.ResponseWriter.
func (m *miss) Hijack() {}
