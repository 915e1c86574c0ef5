// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"reflect"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/cache"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/background"
	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// patience bounds the time for which a follower waits, and the time of a question in the background. The plugin forward gives up
// after 5 s (defaultTimeout).
const patience = 10 * time.Second

// Keep is the plugin's handler.
type Keep struct {
	Next plugin.Handler

	block   [store.HashLen]byte // hash of the server block
	rules   rules
	process *store.Process
	flights flights
	behind  *background.Group // questions for which no client waits
}

// shared is the process's store, which outlives reloads.
var shared = store.Process{Now: new(store.Clock).Now}

// Name implements plugin.Handler.
func (k *Keep) Name() string { return "keep" }

// ServeDNS implements plugin.Handler.
func (k *Keep) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	caller := callerOf(w)
	who := k.askerOf(caller)
	a := &asked{k: k, ResponseWriter: w, caller: caller, who: who, request: r}
	if who == passerby || !a.key.Set(&k.block, r) {
		return plugin.NextOrFailure(k.Name(), k.Next, ctx, w, r)
	}
	if who == client {
		requestsTotal.Inc()
	}
	return a.serve(ctx)
}

// tracker is the type of the writer with which plugin.NextOrFailure wraps the writer of each plugin.
const tracker = "*plugin.pluginWriter"

// callerOf returns the writer of the plugin before keep.
func callerOf(w dns.ResponseWriter) dns.ResponseWriter {
	if v := reflect.ValueOf(w); v.Type().String() == tracker {
		if caller, ok := v.Elem().Field(0).Interface().(dns.ResponseWriter); ok {
			return caller
		}
	}
	return w
}

// asker is the origin of a question.
type asker int

const (
	client      asker = iota
	cacheItself       // the plugin cache renews an answer: the upstream must be asked
	passerby          // cache does not handle the question
)

// verifier is the type of the writer with which cache verifies a stale answer.
const verifier = "*cache.verifyStaleResponseWriter"

// askerOf returns the origin of a question with the writer w. If cache has no answer for a client, w is the writer of cache around
// the writer of the client. If cache renews an answer, the writer of cache has no writer inside.
func (k *Keep) askerOf(w dns.ResponseWriter) asker {
	cw, ofCache := w.(*cache.ResponseWriter)
	switch {
	case !k.rules.cached, ofCache && cw.ResponseWriter != nil:
		return client
	case ofCache, reflect.TypeOf(w).String() == verifier:
		return cacheItself
	}
	return passerby
}

// beyond returns the writer inside the writer of cache. Answers from the store go there: cache would store them with a new
// lifetime.
func beyond(w dns.ResponseWriter) dns.ResponseWriter {
	if cw, ok := w.(*cache.ResponseWriter); ok {
		return cw.ResponseWriter
	}
	return w
}

// detached returns a writer that lets cache store the answer, and sends nothing to the client. It has the address of the client,
// so that fairshare counts the question as the client's: the renewals of one client do not displace those of other clients.
func detached(w dns.ResponseWriter) dns.ResponseWriter {
	end := &capture.Writer{Local: w.LocalAddr(), Remote: w.RemoteAddr()}
	if cw, ok := w.(*cache.ResponseWriter); ok {
		own := *cw
		own.ResponseWriter = end
		return &own
	}
	return end
}
