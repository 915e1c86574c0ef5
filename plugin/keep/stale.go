// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"context"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// ttl returns the TTL of a, in seconds.
func (r *rules) ttl(a store.Found) uint32 {
	switch {
	case a.Freshness != store.Fresh:
		return uint32(r.stale.ttl / time.Second)
	case r.keepTTL:
		return uint32(a.Lifetime / time.Second)
	}
	return uint32(a.Left / time.Second)
}

// good reports whether m replaces an old answer (RFC 8767, section 4).
func (r *rules) good(m *dns.Msg) bool {
	if m == nil || m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return false
	}
	return !r.stale.preferPositive || m.Rcode == dns.RcodeSuccess && answers(m)
}

// renew asks the upstream in the background, and sends the client the old answer. With staleImmediate renew sends it at once. With
// staleVerify renew first waits for the upstream, and sends the new answer if one comes in time.
func (a *asked) renew(ctx context.Context, known *dns.Msg) (int, error) {
	fl := a.flight
	b := &asked{
		ResponseWriter: detached(a.caller), k: a.k, request: a.request.Copy(), key: a.key, flight: fl, filter: a.k.rules.good,
	}
	a.flight = nil
	if !a.k.behind.Start(ctx, func(ctx context.Context) { b.verify(ctx, fl) }) {
		b.land(outcome{state: withdrawn})
		return a.answer(store.Old, known)
	}
	if a.k.rules.stale.mode == staleImmediate {
		return a.answer(store.Old, known)
	}
	select {
	case <-fl.done:
		if m := a.k.renewed(a.request, fl); m != nil {
			return dns.RcodeSuccess, a.ResponseWriter.WriteMsg(m)
		}
	case <-time.After(cmp.Or(a.k.rules.stale.timeout, patience)):
	case <-ctx.Done():
	}
	return a.answer(store.Old, known)
}

// verify asks the upstream, and records a failure.
func (a *asked) verify(ctx context.Context, fl *flight) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, _ = a.lead(ctx) // followers get the outcome of the flight, and the old answer stands in for a failure
	if a.k.renewed(a.request, fl) == nil {
		a.k.process.Store().Failed(a.key.Bytes(), a.k.process.Now()+int64(a.k.rules.stale.recheck))
	}
}

// renewed returns the answer of fl, which has landed, if the answer is good, else nil.
func (k *Keep) renewed(r *dns.Msg, fl *flight) *dns.Msg {
	if m := reply(r, fl.wire); k.rules.good(m) {
		return m
	}
	return nil
}
