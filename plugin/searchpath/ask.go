// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"net"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"

	"github.com/miekg/dns"
)

// askTimeout is how long a question of our own may take.
const askTimeout = 3 * time.Second

// terms are what a question of our own has in common with the client's, so that the answers are alike.
type terms struct {
	recursion, authentic bool
	size                 uint16 // of a datagram; 0: no EDNS
}

func termsOf(r *dns.Msg) terms {
	t := terms{recursion: r.RecursionDesired, authentic: r.AuthenticatedData}
	if o := r.IsEdns0(); o != nil {
		t.size = o.UDPSize()
	}
	return t
}

// asker asks the next plugin.
type asker struct {
	next  plugin.Handler
	ctx   context.Context
	terms terms
}

// detached returns an asker that may go on after the client's query. ctx has metadata of its own: plugins below
// write to it, and the client's is still in use.
func (a asker) detached() asker {
	a.ctx = metadata.ContextWithMetadata(context.WithoutCancel(a.ctx))
	return a
}

// ask returns the answer to q; nil if there is none within askTimeout, or before life ends.
func (a asker) ask(life context.Context, q question) *dns.Msg {
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.RecursionDesired, m.AuthenticatedData = a.terms.recursion, a.terms.authentic
	if a.terms.size > 0 {
		m.SetEdns0(a.terms.size, false)
	}
	var w capture
	if _, err := plugin.NextOrFailure("searchpath", a.next, ctx, &w, m); err != nil {
		return nil // no statement; the client's own question reports the failure
	}
	return w.msg
}

// capture keeps the answer to a question that no client asked. It comes from a TCP address, so that nothing is truncated.
type capture struct{ msg *dns.Msg }

var nobody = &net.TCPAddr{}

// WriteMsg implements dns.ResponseWriter.
func (c *capture) WriteMsg(m *dns.Msg) error {
	c.msg = m
	return nil
}

// Write implements dns.ResponseWriter.
func (c *capture) Write(b []byte) (int, error) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return 0, err
	}
	c.msg = m
	return len(b), nil
}

// LocalAddr implements dns.ResponseWriter.
func (*capture) LocalAddr() net.Addr { return nobody }

// RemoteAddr implements dns.ResponseWriter.
func (*capture) RemoteAddr() net.Addr { return nobody }

// Close implements dns.ResponseWriter.
func (*capture) Close() error { return nil }

// TsigStatus implements dns.ResponseWriter.
func (*capture) TsigStatus() error { return nil }

// TsigTimersOnly implements dns.ResponseWriter.
func (*capture) TsigTimersOnly(bool) {}

// Hijack implements dns.ResponseWriter.
func (*capture) Hijack() {}
