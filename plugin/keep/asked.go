// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"context"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// asked is one question, and the writer of what the next plugin says to it.
type asked struct {
	dns.ResponseWriter
	caller  dns.ResponseWriter // the same, as the plugin cache made it
	k       *Keep
	request *dns.Msg
	key     store.Key
	who     asker
	own     flight
	flight  *flight // while this is the one question of its kind that is with the upstream; most often &own
	filter  func(*dns.Msg) bool
}

// find returns what is known, ready to be given. What cannot be read is not known.
func (a *asked) find() (store.Found, *dns.Msg) {
	known := a.k.process.Store().Find(a.key.Bytes(), a.k.rules.limits(), a.k.process.Now())
	if known.Freshness == store.None {
		return known, nil
	}
	m := reply(a.request, known.Wire)
	if m == nil {
		return store.Found{}, nil
	}
	setTTL(m, a.k.rules.ttl(known))
	if !a.wantsAD() {
		m.AuthenticatedData = false
	}
	return known, m
}

// answer answers with what is known, past the cache. cache takes an error for one of the upstream, and would tell
// everybody SERVFAIL because one client is gone; so it is told none.
func (a *asked) answer(f store.Freshness, m *dns.Msg) (int, error) {
	hits[f].Inc()
	_ = beyond(a.caller).WriteMsg(m)
	return dns.RcodeSuccess, nil
}

// wantsAD reports whether the client is to see the AD bit. With AD in a query it may (RFC 6840, 5.7); but cache
// sets that in all that it hands on, so that only DO is sure.
func (a *asked) wantsAD() bool {
	opt := a.request.IsEdns0()
	return opt != nil && opt.Do() || !a.k.rules.cached && a.request.AuthenticatedData
}

// begin finds an answer. The cache's own question is always one to the upstream.
func (a *asked) begin(ctx context.Context) (int, error) {
	if a.who == cacheItself {
		return a.ask(ctx)
	}
	return a.serve(ctx)
}

// serve answers a client.
func (a *asked) serve(ctx context.Context) (int, error) {
	puts := a.k.process.Store().Puts()
	known, m := a.find()
	if known.Freshness == store.Fresh || known.Freshness == store.Spared {
		return a.answer(known.Freshness, m)
	}
	fl, first := a.k.flights.join(a.key.Bytes(), &a.own)
	if !first {
		if known.Freshness == store.Old {
			return a.answer(store.Old, m) // as cache does: only the one who asks waits
		}
		return a.share(ctx, fl)
	}
	a.flight = fl
	if a.k.process.Store().Puts() != puts {
		known, m = a.find() // another flight may have landed since
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

// ask asks the upstream, or waits for another question's answer.
func (a *asked) ask(ctx context.Context) (int, error) {
	fl, first := a.k.flights.join(a.key.Bytes(), &a.own)
	if !first {
		return a.share(ctx, fl)
	}
	a.flight = fl
	return a.lead(ctx)
}

// leading is the key of a mark in the context of what is asked on behalf of a flight.
type leading struct{}

// lead asks the upstream. Plugins below may ask the server again, with the same context: for the target of an alias.
func (a *asked) lead(ctx context.Context) (rcode int, err error) {
	defer func() {
		if a.flight == nil {
			return // answered
		}
		// An error comes from the upstream. A failure without an error is a refusal of fairshare, of this client alone.
		if ctx.Err() != nil || plugin.ClientWrite(rcode) || err == nil { // or a panic is on its way
			a.land(outcome{state: withdrawn})
			return
		}
		a.land(outcome{state: failed, rcode: rcode})
	}()
	ctx = context.WithValue(ctx, leading{}, true)
	return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a, a.request)
}

// share waits for the answer of fl. What is asked on behalf of a flight does not wait for another one: aliases that
// lead back to their beginning would wait for themselves, and those of two flights for each other.
func (a *asked) share(ctx context.Context, fl *flight) (int, error) {
	if ctx.Value(leading{}) != nil {
		return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a.ResponseWriter, a.request)
	}
	return a.follow(ctx, fl)
}

// follow waits for the answer to the same question.
func (a *asked) follow(ctx context.Context, fl *flight) (int, error) {
	coalescedTotal.Inc()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-fl.done:
	case <-ctx.Done():
		return dns.RcodeServerFailure, ctx.Err()
	case <-timer.C:
		impatientTotal.Inc()
		return dns.RcodeServerFailure, nil // an error would make cache tell everybody the same
	}
	switch fl.state {
	case failed:
		return fl.rcode, nil // the one who asked returns the error, so that it is logged once
	case answered:
		if m := reply(a.request, fl.wire); m != nil {
			return dns.RcodeSuccess, a.ResponseWriter.WriteMsg(m)
		}
	case alone:
		return plugin.NextOrFailure(a.k.Name(), a.k.Next, ctx, a.ResponseWriter, a.request)
	}
	return a.begin(ctx)
}

// WriteMsg implements dns.ResponseWriter: it is what the next plugin answers with.
func (a *asked) WriteMsg(m *dns.Msg) error {
	if a.flight != nil {
		a.take(m)
	}
	if a.filter != nil && !a.filter(m) {
		return nil
	}
	return a.ResponseWriter.WriteMsg(m)
}

// Write implements dns.ResponseWriter. What is packed already is for this client alone.
func (a *asked) Write(b []byte) (int, error) {
	if a.flight != nil {
		a.land(outcome{state: alone})
	}
	return a.ResponseWriter.Write(b)
}

// take keeps m, and gives it to those who wait. It packs m once, and not at all if nobody wants it.
func (a *asked) take(m *dns.Msg) {
	o := outcome{state: alone}
	if m == nil || !isReply(m, a.request) {
		a.land(o)
		return
	}
	kind, lifetime := a.k.rules.judge(m)
	fl := a.flight
	a.flight = nil
	closed, waiting := false, false
	if lifetime > 0 {
		packed(m, func(wire []byte) {
			a.put(kind, lifetime, wire)
			// Not before it is stored: who comes later finds it there.
			if closed, waiting = true, a.k.flights.close(fl); waiting {
				o = outcome{state: answered, wire: bytes.Clone(wire)}
			}
		})
	}
	if !closed && a.k.flights.close(fl) && !m.Truncated && forAll(m.Rcode) {
		packed(m, func(wire []byte) { o = outcome{state: answered, wire: bytes.Clone(wire)} })
	}
	a.k.flights.land(fl, o)
}

// forAll reports whether an answer with this rcode is one to the question alone. Others, FORMERR and NOTIMP among
// them, may be about the EDNS record of the client that asked, which is no part of the key.
func forAll(rcode int) bool {
	switch rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure, dns.RcodeRefused:
		return true
	}
	return false
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

// land ends the flight.
func (a *asked) land(o outcome) {
	if a.flight == nil {
		return
	}
	a.k.flights.close(a.flight)
	a.k.flights.land(a.flight, o)
	a.flight = nil
}
