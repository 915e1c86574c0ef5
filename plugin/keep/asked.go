// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"slices"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// asked is one question, and the writer for the answer of the next plugin.
type asked struct {
	dns.ResponseWriter
	caller  dns.ResponseWriter // the writer of the plugin cache inside ResponseWriter
	k       *Keep
	request *dns.Msg
	key     store.Key
	who     asker
	flight  *flight             // not nil while this question leads a flight
	filter  func(*dns.Msg) bool // which answers go to ResponseWriter; nil: all
}

// find returns what the store knows, and the answer for the client. An answer that cannot be unpacked counts as unknown. So does
// every answer to a question of the plugin cache itself, which always goes to the upstream.
func (a *asked) find() (store.Found, *dns.Msg) {
	if a.who == cacheItself {
		return store.Found{}, nil
	}
	known := a.k.process.Store().Find(a.key.Bytes(), a.k.rules.limits(), a.k.process.Now())
	if known.Freshness == store.None {
		return known, nil
	}
	m := reply(a.request, known.Wire)
	if m == nil {
		return store.Found{}, nil
	}
	setTTL(m, a.k.rules.ttl(known))
	// The client asks for the AD bit with DO, or with AD in the query (RFC 6840, section 5.7). Behind the plugin cache AD says
	// nothing, because cache sets AD in every query.
	opt := a.request.IsEdns0()
	wanted := opt != nil && opt.Do() || !a.k.rules.cached && a.request.AuthenticatedData
	m.AuthenticatedData = m.AuthenticatedData && wanted
	return known, m
}

// answer sends m to the client past the plugin cache. answer never returns an error: cache would take it as an error of the
// upstream, and answer other clients with SERVFAIL because one client is gone.
func (a *asked) answer(f store.Freshness, m *dns.Msg) (int, error) {
	hits[f].Inc()
	_ = beyond(a.caller).WriteMsg(m)
	return dns.RcodeSuccess, nil
}

// serve answers from the store or from the upstream.
func (a *asked) serve(ctx context.Context) (int, error) {
	puts := a.k.process.Store().Puts()
	known, m := a.find()
	if known.Freshness == store.Fresh || known.Freshness == store.Spared {
		return a.answer(known.Freshness, m)
	}
	fl, first := a.k.flights.join(a.key.Bytes())
	if !first {
		if known.Freshness == store.Old {
			return a.answer(store.Old, m) // as in cache, only the leader of the flight waits
		}
		return a.follow(ctx, fl)
	}
	a.flight = fl
	if a.k.process.Store().Puts() != puts {
		known, m = a.find() // another flight has stored an answer meanwhile
	}
	switch known.Freshness {
	case store.Fresh, store.Spared:
		a.land(outcome{state: withdrawn})
		return a.answer(known.Freshness, m)
	case store.Old:
		return a.renew(ctx, m)
	}
	return a.lead(ctx)
}

// leading is the key of a mark in the context of questions that a flight depends on.
type leading struct{}

// lead asks the upstream. A plugin below may ask this server for the target of an alias, with the same context.
func (a *asked) lead(ctx context.Context) (rcode int, err error) {
	defer func() {
		o := outcome{state: failed, rcode: rcode} // without effect if the question is answered
		// An error comes from the upstream. A failure without an error comes from fairshare, which refuses this client only.
		if ctx.Err() != nil || plugin.ClientWrite(rcode) || err == nil { // err is nil also during a panic
			o = outcome{state: withdrawn}
		}
		a.land(o)
	}()
	ctx = context.WithValue(ctx, leading{}, true)
	return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a, a.request)
}

// follow waits until fl lands, for patience at most. A question that a flight depends on does not wait for a flight: with a loop of
// aliases a flight would wait for itself, or two flights for each other.
func (a *asked) follow(ctx context.Context, fl *flight) (int, error) {
	if ctx.Value(leading{}) != nil {
		return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a.ResponseWriter, a.request)
	}
	coalescedTotal.Inc()
	select {
	case <-fl.done:
	case <-ctx.Done():
		return dns.RcodeServerFailure, ctx.Err()
	case <-time.After(patience):
		impatientTotal.Inc()
		return dns.RcodeServerFailure, nil // with an error cache would answer other clients with SERVFAIL, too
	}
	switch fl.state {
	case failed:
		return fl.rcode, nil // the leader returns the error, so that the error is logged once
	case answered:
		if m := reply(a.request, fl.wire); m != nil {
			return dns.RcodeSuccess, a.ResponseWriter.WriteMsg(m)
		}
	case alone:
		return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a.ResponseWriter, a.request)
	}
	return a.serve(ctx)
}

// WriteMsg implements dns.ResponseWriter. The next plugin calls it with the answer.
func (a *asked) WriteMsg(m *dns.Msg) error {
	if a.flight != nil {
		a.take(m)
	}
	if a.filter != nil && !a.filter(m) {
		return nil
	}
	return a.ResponseWriter.WriteMsg(m)
}

// Write implements dns.ResponseWriter. A packed answer goes to this client only.
func (a *asked) Write(b []byte) (int, error) {
	a.land(outcome{state: alone})
	return a.ResponseWriter.Write(b)
}

// take stores m, and gives it to the followers of the flight.
func (a *asked) take(m *dns.Msg) {
	o := outcome{state: alone}
	if m != nil && isReply(m, a.request) {
		kind, lifetime := a.k.rules.judge(m)
		wire := packed(m)
		if wire != nil && lifetime > 0 {
			a.put(kind, lifetime, wire)
		}
		if wire != nil && !m.Truncated && forAll(m.Rcode) {
			o = outcome{state: answered, wire: wire}
		}
	}
	a.land(o) // after put: a client that comes later finds the answer in the store
}

// forAll reports whether an answer with this rcode depends on the key only. Other answers, such as FORMERR and NOTIMP, may depend
// on the OPT record of the client, which is no part of the key.
func forAll(rcode int) bool {
	return slices.Contains([]int{dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure, dns.RcodeRefused}, rcode)
}

func (a *asked) put(kind store.Kind, lifetime time.Duration, wire []byte) {
	now := a.k.process.Now()
	until := now + int64(lifetime)
	if kind == store.Positive {
		until += int64(a.k.rules.stale.upTo)
	}
	a.k.process.Store().Put(&store.Record{
		Stored: now, Lifetime: int64(lifetime), Until: until, Kind: kind,
		Final: kind == store.Denial && !a.k.rules.stale.preferPositive, Key: a.key.Bytes(), Wire: wire,
	})
}

// land ends the flight, if this question leads one.
func (a *asked) land(o outcome) {
	if a.flight == nil {
		return
	}
	a.k.flights.land(a.flight, o)
	a.flight = nil
}
