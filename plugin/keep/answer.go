// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"slices"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/coredns/coredns/plugin/pkg/response"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// judge returns the kind and the lifetime of the answer m. The lifetime is that of the plugin cache; for a denial without SOA it
// is bare_denial. A lifetime of 0 means that m is not kept.
func (r *rules) judge(m *dns.Msg) (store.Kind, time.Duration) {
	if m.Truncated || len(m.Question) != 1 {
		return store.Denial, 0
	}
	var now time.Time // Typify checks signatures with it, which come only with DO
	if opt := m.IsEdns0(); opt != nil && opt.Do() {
		now = time.Now()
	}
	t, _ := response.Typify(m, now)
	switch {
	case t == response.NoError && answers(m):
		if plugin.Zones(r.successOff).Contains(m.Question[0].Name) {
			return store.Positive, 0
		}
		return store.Positive, bound(dnsutil.MinimalTTLWithMaximum(m, t, r.success.most), r.success)
	case t != response.NoError && t != response.NoData && t != response.NameError:
		return store.Denial, 0
	case plugin.Zones(r.denialOff).Contains(m.Question[0].Name):
		return store.Denial, 0
	case has(m.Ns, dns.TypeSOA):
		return store.Denial, bound(dnsutil.MinimalTTLWithMaximum(m, response.NoData, r.denial.most), r.denial)
	case has(m.Ns, dns.TypeNS):
		return store.Denial, 0 // a referral
	case len(m.Answer) == 0:
		return store.Denial, r.bareDenial
	}
	return store.Denial, dnsutil.MinimalTTLWithMaximum(m, t, r.bareDenial) // a chain of aliases without a record at its end
}

func bound(ttl time.Duration, l limits) time.Duration { return min(max(ttl, l.least), l.most) }

func has(rrs []dns.RR, t uint16) bool {
	return slices.ContainsFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == t })
}

// answers reports whether m has a record of the type in the question for the name in the question, or at the end of the aliases of
// that name (RFC 1034, section 3.6.2).
func answers(m *dns.Msg) bool {
	q := &m.Question[0]
	name := q.Name
	for range len(m.Answer) {
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) || h.Class != q.Qclass {
				continue
			}
			if h.Rrtype == q.Qtype {
				return true
			}
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c.Target
			}
		}
		if alias == "" {
			return false
		}
		name = alias
	}
	return false
}

// packed returns m in wire format, without its OPT records, or nil if m cannot be packed.
func packed(m *dns.Msg) []byte {
	bare := *m
	bare.Compress = false // compression costs more CPU than the octets are worth
	bare.Extra = slices.DeleteFunc(slices.Clone(m.Extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	wire, err := bare.Pack()
	if err != nil || len(wire) > dns.MaxMsgSize {
		return nil
	}
	return wire
}

// reply returns the answer to r in wire, or nil if wire is no answer to r.
func reply(r *dns.Msg, wire []byte) *dns.Msg {
	m := new(dns.Msg)
	if m.Unpack(wire) != nil || !isReply(m, r) {
		return nil
	}
	m.Id = r.Id
	m.Question = append([]dns.Question(nil), r.Question...) // in the spelling of the client
	m.RecursionDesired, m.CheckingDisabled = r.RecursionDesired, r.CheckingDisabled
	return m
}

// isReply reports whether m answers the question of r.
func isReply(m, r *dns.Msg) bool {
	if !m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || len(r.Question) != 1 {
		return false
	}
	a, q := &m.Question[0], &r.Question[0]
	return a.Qtype == q.Qtype && a.Qclass == q.Qclass && strings.EqualFold(a.Name, q.Name)
}

// setTTL gives all records of m the same TTL, as the plugin cache does.
func setTTL(m *dns.Msg, ttl uint32) {
	for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
		rr.Header().Ttl = ttl
	}
}
