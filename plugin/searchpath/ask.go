// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
)

// askTimeout bounds the time of a question that searchpath asks on its own.
const askTimeout = 3 * time.Second

// terms are the flags that a question of searchpath takes from the query of a client. With them the answers are alike.
type terms struct {
	recursion, authentic bool
	size                 uint16 // of a UDP answer, in octets; 0: no EDNS
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

// detached returns an asker for questions that may outlive the query of the client. Its context has its own metadata map: plugins
// write to the map while the query of the client uses the other one.
func (a asker) detached() asker {
	a.ctx = metadata.ContextWithMetadata(context.WithoutCancel(a.ctx))
	return a
}

// ask returns the answer to q, or nil if none comes within askTimeout and before life ends.
func (a asker) ask(life context.Context, q question) *dns.Msg {
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.RecursionDesired, m.AuthenticatedData = a.terms.recursion, a.terms.authentic
	if a.terms.size > 0 {
		m.SetEdns0(a.terms.size, false)
	}
	var w capture.Writer
	if _, err := plugin.NextOrFailure("searchpath", a.next, ctx, &w, m); err != nil {
		return nil // the query of the client reports the failure
	}
	return w.Msg
}
