// SPDX-License-Identifier: Apache-2.0

// Package capture is the client of a question that a plugin asks on its own. A dns.ResponseWriter with its own WriteMsg and Write can
// embed a Writer.
package capture

import (
	"cmp"
	"net"

	"github.com/miekg/dns"
)

// A Writer keeps the answer. Without addresses its client has the zero address and speaks TCP, so that no answer is truncated.
type Writer struct {
	Local, Remote net.Addr // nil: the zero address
	Msg           *dns.Msg // the answer; nil: none yet
}

// WriteMsg and the other methods implement dns.ResponseWriter.
func (w *Writer) WriteMsg(m *dns.Msg) error {
	w.Msg = m
	return nil
}

func (w *Writer) Write(b []byte) (int, error) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return 0, err
	}
	return len(b), w.WriteMsg(m)
}

var zero net.Addr = new(net.TCPAddr)

func (w *Writer) LocalAddr() net.Addr  { return cmp.Or(w.Local, zero) }
func (w *Writer) RemoteAddr() net.Addr { return cmp.Or(w.Remote, zero) }

// These methods do nothing.
func (*Writer) Close() error        { return nil }
func (*Writer) TsigStatus() error   { return nil }
func (*Writer) TsigTimersOnly(bool) {}
func (*Writer) Hijack()             {}
