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
	var w capture.Writer
	if _, err := plugin.NextOrFailure("searchpath", a.next, ctx, &w, m); err != nil {
		return nil // no statement; the client's own question reports the failure
	}
	return w.Msg
}
