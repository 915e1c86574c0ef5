// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// Hedge is the plugin's handler.
type Hedge struct {
	Next plugin.Handler

	options
	upstreams []*upstream
	budgets   *budgets
	turn      atomic.Uint32 // number of questions, which selects the first upstream
	waiting   atomic.Int64  // number of questions without an answer
}

// ServeDNS implements plugin.Handler.
func (h *Hedge) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) != 1 || !plugin.Name(h.From).Matches(r.Question[0].Name) {
		return plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.MaxConcurrent) {
		rejects.Inc()
		return dns.RcodeServerFailure, fmt.Errorf("more than %d questions wait for %s", h.MaxConcurrent, h.upstreams[0].addr)
	}
	m, err := h.ask(ctx, r)
	if err != nil {
		return dns.RcodeServerFailure, err
	}
	return dns.RcodeSuccess, w.WriteMsg(m)
}

// Name implements plugin.Handler.
func (h *Hedge) Name() string { return "hedge" }

// ask returns the answer of the upstreams to r.
func (h *Hedge) ask(ctx context.Context, r *dns.Msg) (*dns.Msg, error) {
	now, u := time.Now(), h.first()
	q := &question{h: h, what: r.Question[0], reply: r.Id, id: dns.Id(), asked: now, deadline: now.Add(h.Timeout), done: ctx.Done()}
	var err error
	if q.wire, err = pack(r, q.id); err != nil {
		return nil, fmt.Errorf("packing the question: %w", err)
	}
	m, err := q.ask(u)
	if err == nil {
		q.by.metrics.observe(m.Rcode, time.Since(now))
		return m, nil
	}
	if !errors.Is(err, context.Canceled) {
		u.metrics.failures.Inc()
		u.health.failed(now)
	}
	if timedOut(err) {
		return nil, fmt.Errorf("no answer from %s within %s", u.addr, h.Timeout)
	}
	return nil, fmt.Errorf("asking %s: %w", u.addr, err)
}

// first returns the upstream for the first attempt. The upstreams take turns; silent upstreams are left out.
func (h *Hedge) first() *upstream {
	return h.behind(int(h.turn.Add(1) % uint32(len(h.upstreams))))
}

// next returns the upstream for another attempt: the next one that is not silent, or after if there is none.
func (h *Hedge) next(after *upstream) *upstream { return h.behind(slices.Index(h.upstreams, after)) }

// behind returns the next upstream behind the one with the index i that is not silent, or that one if there is none.
func (h *Hedge) behind(i int) *upstream {
	for j := 1; j < len(h.upstreams); j++ {
		if other := h.upstreams[(i+j)%len(h.upstreams)]; other.health.ok() {
			return other
		}
	}
	return h.upstreams[i]
}

func (h *Hedge) close() error {
	for _, u := range h.upstreams {
		u.close()
	}
	return nil
}
