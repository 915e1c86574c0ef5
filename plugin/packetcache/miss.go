// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// A miss is a query on its way through the plugins, and the writer of its answer.
type miss struct {
	server *server
	remote *net.UDPAddr
	query  []byte
	key    []byte
	hash   uint64

	block   atomic.Pointer[block] // the first that it came to
	unsafe  atomic.Bool           // a block that is not safe had a part in it
	written bool
}

// serve asks the plugins.
func (m *miss) serve() {
	defer m.server.end()
	r := new(dns.Msg)
	if err := r.Unpack(m.query); err != nil {
		m.server.pipe.put(m.query, m.remote) // parseQuery and dns do not agree; that one decides
		return
	}
	m.server.dns.ServeDNS(context.WithValue(m.server.ctx, missKey{}, m), m, r)
}

// enter is called by the handlers of the server blocks. A block can ask another
// one, or itself, on its way to the answer, and behind it: cache fetches anew
// what is about to run out.
func (m *miss) enter(b *block) {
	m.block.CompareAndSwap(nil, b)
	if !b.safe {
		m.unsafe.Store(true)
	}
}

// WriteMsg implements dns.ResponseWriter.
func (m *miss) WriteMsg(r *dns.Msg) error {
	data, err := r.Pack()
	if err != nil {
		return err
	}
	_, err = m.Write(data)
	return err
}

// Write implements dns.ResponseWriter. The first answer is kept.
func (m *miss) Write(data []byte) (int, error) {
	if err := m.server.listener.send(data, m.remote); err != nil {
		return 0, err
	}
	if b := m.block.Load(); !m.written && b != nil && !m.unsafe.Load() {
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
		stored: now, expires: now + min(a.ttl, m.server.ttl), query: len(m.query), block: b,
	})
}

// LocalAddr implements dns.ResponseWriter.
func (m *miss) LocalAddr() net.Addr { return m.server.listener.local }

// RemoteAddr implements dns.ResponseWriter.
func (m *miss) RemoteAddr() net.Addr { return m.remote }

// Close implements dns.ResponseWriter.
func (m *miss) Close() error { return nil }

// TsigStatus implements dns.ResponseWriter; a query with TSIG is none of the usual form.
func (m *miss) TsigStatus() error { return nil }

// TsigTimersOnly implements dns.ResponseWriter.
func (m *miss) TsigTimersOnly(bool) {}

// Hijack implements dns.ResponseWriter.
func (m *miss) Hijack() {}

var start = time.Now()

// clock is a monotonic time.
func clock() time.Duration { return time.Since(start) }
