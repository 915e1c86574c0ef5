// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"context"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

// patience is how long a query waits for the renewal of a cut before searchpath passes the query on. The renewal takes one round
// trip to the cluster DNS, as the query itself would.
const patience = 25 * time.Millisecond

// Searchpath is the plugin of one server block.
type Searchpath struct {
	Next plugin.Handler

	zones map[string]*zone
	names []string // the keys of zones
}

// New returns the plugin for zones, names in lower case with a dot at the end. Without cuts the plugin answers locally only
// for A after a denial of AAAA, and for AAAA after a denial of A.
func New(zones []string, cuts bool) *Searchpath {
	s := &Searchpath{zones: make(map[string]*zone, len(zones))}
	for _, name := range zones {
		if s.zones[name] == nil {
			s.zones[name] = newZone(name, cuts)
			s.names = append(s.names, name)
		}
	}
	return s
}

// Start sets the metric zone_active of each zone. It always returns nil.
func (s *Searchpath) Start() error {
	for name := range s.zones {
		zoneActive.WithLabelValues(name).Set(1)
	}
	return nil
}

// Close ends the questions that searchpath asks on its own, and waits for them. It always returns nil.
func (s *Searchpath) Close() error {
	for _, z := range s.zones {
		_ = z.tasks.Close()
	}
	return nil
}

// Name implements plugin.Handler.
func (s *Searchpath) Name() string { return "searchpath" }

// ServeDNS implements plugin.Handler.
func (s *Searchpath) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	z, q := s.eligible(r)
	if z == nil {
		return plugin.NextOrFailure(s.Name(), s.Next, ctx, w, r)
	}
	a := askerFor(ctx, s.Next, r)
	f := z.lookup(a, q)
	if f.denial != nil {
		answersTotal.WithLabelValues(z.name, f.kind).Inc()
		z.audit(a, q, f)
		// An error means that the client is gone, which is no failure of DNS.
		_ = w.WriteMsg(f.denial.reply(r, f.ttl))
		return dns.RcodeSuccess, nil
	}
	if f.leads {
		defer z.land(q.name)
	}
	o := &observer{ResponseWriter: w, see: func(m *dns.Msg) { z.learn(a, q, m) }}
	return plugin.NextOrFailure(s.Name(), s.Next, ctx, o, r)
}

// eligible returns the question of r and its zone, or nil if r must not be answered locally. Only A and AAAA may: CoreDNS's
// kubernetes plugin denies TXT for names that exist.
func (s *Searchpath) eligible(r *dns.Msg) (*zone, question) {
	if r.Opcode != dns.OpcodeQuery || r.Response || r.CheckingDisabled || len(r.Question) != 1 || len(r.Answer)+len(r.Ns) > 0 || r.IsTsig() != nil {
		return nil, question{}
	}
	q := question{strings.ToLower(r.Question[0].Name), r.Question[0].Qtype}
	o := r.IsEdns0()
	if r.Question[0].Qclass != dns.ClassINET || q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA || o != nil && o.Do() {
		return nil, question{}
	}
	z := s.zoneOf(q.name)
	if z == nil || q.name == z.name {
		return nil, question{}
	}
	return z, q
}

// zoneOf returns the zone of name, or nil if name is in none. With one zone zoneOf compares suffixes, which is faster than
// splitting the name into labels.
func (s *Searchpath) zoneOf(name string) *zone {
	if len(s.names) == 1 {
		only := s.names[0]
		if !strings.HasSuffix(name, only) {
			return nil
		}
		if rest := name[:len(name)-len(only)]; rest == "" || strings.HasSuffix(rest, ".") && !strings.Contains(rest, `\`) {
			return s.zones[only]
		}
	}
	return s.zones[plugin.Zones(s.names).Matches(name)]
}

// observer calls see with the answer before it goes to the client.
type observer struct {
	dns.ResponseWriter
	see func(*dns.Msg)
}

// WriteMsg implements dns.ResponseWriter.
func (o *observer) WriteMsg(m *dns.Msg) error {
	o.see(m)
	return o.ResponseWriter.WriteMsg(m)
}
