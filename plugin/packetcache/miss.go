// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// A miss is a query on its way through the plugins, and the writer of its answer.
type miss struct {
	server *server
	client netip.Addr // that holds the place
	remote *net.UDPAddr
	query  []byte
	key    []byte // nil: of an unusual form, and its answer is not kept
	hash   uint64

	request *dns.Msg
	block   atomic.Pointer[block] // that it came to; nil: one without the plugin
	unsafe  atomic.Bool           // a block that is not safe had a part in it
	size    int                   // of the answer, where the prometheus plugin counts it
	written bool

	tsigStatus error
	tsigMAC    string // of the query, and then of the last answer
	tsigTimers bool
}

// serve asks the plugins, and gives the place back.
func (m *miss) serve() {
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

// enter is called by the handlers of the server blocks, and returns the writer
// for what comes behind. A block, also one without the plugin, can ask another
// one, or itself, on its way to the answer, and behind it: cache fetches anew
// what is about to run out. Those are other messages than the client's.
func (m *miss) enter(b *block, w dns.ResponseWriter, r *dns.Msg) dns.ResponseWriter {
	if !b.safe {
		m.unsafe.Store(true)
	}
	if r != m.request {
		return w
	}
	m.block.Store(b)
	return &sizer{w, m}
}

// A sizer notes the size of an answer before the server puts its OPT record in.
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

// Write implements dns.ResponseWriter. The first answer is kept. An answer that the kernel does not take is
// counted. It is no error, as a packet that the network loses is none.
func (m *miss) Write(data []byte) (int, error) {
	if err := m.server.listener.send(data, m.remote); err != nil {
		m.server.unsent.Inc()
	}
	if b := m.block.Load(); !m.written && m.key != nil && b != nil && !m.unsafe.Load() {
		m.keep(data, b)
	}
	m.written = true
	return len(data), nil
}

func (m *miss) keep(data []byte, b *block) {
	a, ok := readAnswer(data, m.key)
	if !ok || b.rotates && a.shuffled {
		return
	}
	now := clock()
	m.server.store.put(&entry{
		key: m.key, wire: bytes.Clone(data), ttls: a.ttls, hash: m.hash,
		stored: now, expires: now + min(a.ttl/4, m.server.ttl), ends: now + a.ttl, query: len(m.query), size: m.size, block: b,
	})
}

// LocalAddr implements dns.ResponseWriter.
func (m *miss) LocalAddr() net.Addr { return m.server.listener.local }

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

var start = time.Now()

// clock is a monotonic time.
func clock() time.Duration { return time.Since(start) }
