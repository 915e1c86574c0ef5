// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
)

// askTimeout bounds the time of a question that searchpath asks on its own.
const askTimeout = 3 * time.Second

// asker asks the next plugin. The flags of its questions are those of the query of a client: with them the answers are alike.
type asker struct {
	next                 plugin.Handler
	ctx                  context.Context
	recursion, authentic bool
	size                 uint16 // of a UDP answer, in octets; 0: no EDNS
}

func askerFor(ctx context.Context, next plugin.Handler, r *dns.Msg) asker {
	a := asker{next: next, ctx: ctx, recursion: r.RecursionDesired, authentic: r.AuthenticatedData}
	if o := r.IsEdns0(); o != nil {
		a.size = o.UDPSize()
	}
	return a
}

// ask returns the answer to q, or nil if none comes within askTimeout.
func (a asker) ask(q question) *dns.Msg {
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.RecursionDesired, m.AuthenticatedData = a.recursion, a.authentic
	if a.size > 0 {
		m.SetEdns0(a.size, false)
	}
	var w capture.Writer
	if _, err := plugin.NextOrFailure("searchpath", a.next, ctx, &w, m); err != nil {
		return nil // the query of the client reports the failure
	}
	return w.Msg
}
