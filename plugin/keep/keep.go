// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"reflect"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/cache"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// patience bounds how long a question waits for the answer to another one, and how long one lives that is asked
// behind a client's back. forward gives up after 5 s (defaultTimeout).
const patience = 10 * time.Second

// Keep is the plugin's handler.
type Keep struct {
	Next plugin.Handler

	block   [store.HashLen]byte // hash of the server block
	rules   rules
	process *store.Process
	flights flights
	behind  background
}

// shared is the process's store, which outlives reloads.
var shared = store.Process{Now: new(store.Clock).Now}

// Name implements plugin.Handler.
func (k *Keep) Name() string { return "keep" }

// ServeDNS implements plugin.Handler.
func (k *Keep) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	caller := callerOf(w)
	who := k.askerOf(caller)
	if who == passerby {
		return plugin.NextOrFailure(k.Name(), k.Next, ctx, w, r)
	}
	a := &asked{k: k, ResponseWriter: w, caller: caller, who: who, request: r}
	if !a.key.Set(&k.block, r) {
		return plugin.NextOrFailure(k.Name(), k.Next, ctx, w, r)
	}
	if who == client {
		requestsTotal.Inc()
	}
	return a.begin(ctx)
}

// tracker is the name of the type of the writer that plugin.NextOrFailure puts around that of each plugin.
const tracker = "*plugin.pluginWriter"

// callerOf returns the writer that the plugin before this one made.
func callerOf(w dns.ResponseWriter) dns.ResponseWriter {
	v := reflect.ValueOf(w)
	if v.Type().String() != tracker {
		return w
	}
	if caller, ok := v.Elem().Field(0).Interface().(dns.ResponseWriter); ok {
		return caller
	}
	return w
}

// asker is who wants an answer.
type asker int

const (
	client      asker = iota
	cacheItself       // it renews what it has, and wants to hear what the upstream says now
	passerby          // one whom cache lets pass
)

// verifier is the name of the type of cache's writer that checks a stale answer.
const verifier = "*cache.verifyStaleResponseWriter"

// askerOf tells by its writer who asks. A client's question that cache has no answer to comes with cache's
// writer around the client's; one to renew an answer has none inside.
func (k *Keep) askerOf(w dns.ResponseWriter) asker {
	if !k.rules.cached {
		return client
	}
	if cw, ok := w.(*cache.ResponseWriter); ok {
		if cw.ResponseWriter == nil {
			return cacheItself
		}
		return client
	}
	if reflect.TypeOf(w).String() == verifier {
		return cacheItself
	}
	return passerby
}

// beyond returns the writer that is behind cache's. What keep answers goes there: cache would store it anew,
// with a lifetime that begins now.
func beyond(w dns.ResponseWriter) dns.ResponseWriter {
	if cw, ok := w.(*cache.ResponseWriter); ok {
		return cw.ResponseWriter
	}
	return w
}

// detached returns a writer that has the effects of w but for the client's answer: cache stores what it gets. It has the client's
// address: fairshare counts the question as that client's, so that one client's old answers do not keep others' from being renewed.
func detached(w dns.ResponseWriter) dns.ResponseWriter {
	end := &capture.Writer{Local: w.LocalAddr(), Remote: w.RemoteAddr()}
	if cw, ok := w.(*cache.ResponseWriter); ok {
		own := *cw
		own.ResponseWriter = end
		return &own
	}
	return end
}
