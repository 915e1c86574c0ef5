// SPDX-License-Identifier: Apache-2.0

package fairshare

import (
	"context"
	"net/netip"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// Fairshare is the plugin of one server block.
type Fairshare struct {
	Next plugin.Handler

	zone    string // of the server block
	places  *shares.Places
	waiting prometheus.Gauge
}

// New returns the plugin for the server block of zone. At most most questions wait at the same time, and a quarter of most in the
// reserve (package shares). most must be at least 1.
func New(zone string, most int) *Fairshare {
	f := &Fairshare{zone: zone, waiting: waiting.WithLabelValues(zone)}
	f.places = shares.New(most, f.tell)
	return f
}

// Name implements plugin.Handler.
func (f *Fairshare) Name() string { return "fairshare" }

// ServeDNS implements plugin.Handler. A refusal is SERVFAIL without an error. The plugin cache would take an error as an error of
// the upstream, and with its option servfail answer other clients with SERVFAIL for the same name. The plugin errors would log
// each refusal.
func (f *Fairshare) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	client := shares.Client(shares.Address(w.RemoteAddr()))
	if v := f.places.Enter(client, false); v != shares.Admitted {
		refusedTotal.WithLabelValues(f.zone, v.String()).Inc()
		return dns.RcodeServerFailure, nil
	}
	f.waiting.Inc()
	defer f.waiting.Dec()
	defer f.places.Leave(client)
	return plugin.NextOrFailure(f.Name(), f.Next, ctx, w, r)
}

// tell logs the client with the most refusals.
func (f *Fairshare) tell(client netip.Addr, refused int) {
	who := client.String()
	if !client.IsValid() {
		who = "this server itself, which renews what it knows"
	}
	log.Warningf("Refusing questions in %s, most of them from %s (%d since the last line like this): too many of its questions wait for an answer", f.zone, who, refused)
}
