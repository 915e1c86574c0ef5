// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// denialLife is the longest use of a denial. The cache of the default template keeps a denial as long.
	denialLife = 5 * time.Second
	// leastLife is the shortest TTL of a denial that is used. The last second of a denial is not used.
	leastLife = 2 * time.Second
)

// statement is what an answer says about the name in the question.
type statement int

const (
	// silence says nothing: there is no answer, a failure, a refusal, a truncated answer, or NXDOMAIN for a name that was not
	// in lower case.
	silence statement = iota
	// exists is NOERROR, with or without data.
	exists
	// denied is NXDOMAIN with the SOA of the zone and no other record.
	denied
	// otherwise is any other NXDOMAIN. With a CNAME it denies another name (RFC 6604). With the SOA of another zone it comes
	// from that zone. Without a SOA it has no time of validity.
	otherwise
)

// String returns the value of the metrics' label result.
func (s statement) String() string {
	return [...]string{"silence", "exists", "denied", "otherwise"}[s]
}

// denial is the answer of the cluster DNS for a name that does not exist.
type denial struct {
	soa                                 *dns.SOA
	qtype                               uint16 // A or AAAA, the type of the question
	authoritative, recursion, authentic bool   // flags of the answer
	until                               time.Time
}

// read returns the statement of m about q, a name in zone. The denial is nil if m is no denial or not valid for leastLife.
func read(m *dns.Msg, q question, zone string, now time.Time) (statement, *denial) {
	if m == nil || m.Truncated || len(m.Question) != 1 || m.Question[0].Qtype != q.qtype || !strings.EqualFold(m.Question[0].Name, q.name) {
		return silence, nil
	}
	if m.Rcode == dns.RcodeSuccess {
		return exists, nil
	}
	// CoreDNS's kubernetes plugin denies NS.DNS.CLUSTER.LOCAL, but not ns.dns.cluster.local (plugin/kubernetes/ns.go).
	if m.Rcode != dns.RcodeNameError || m.Question[0].Name != q.name {
		return silence, nil
	}
	if len(m.Answer) > 0 || len(m.Ns) != 1 {
		return otherwise, nil
	}
	soa, ok := m.Ns[0].(*dns.SOA)
	if !ok || !strings.EqualFold(soa.Hdr.Name, zone) {
		return otherwise, nil
	}
	life := min(denialLife, time.Duration(soa.Hdr.Ttl)*time.Second, time.Duration(soa.Minttl)*time.Second) // RFC 2308, section 5
	if life < leastLife {
		return denied, nil
	}
	return denied, &denial{dns.Copy(soa).(*dns.SOA), q.qtype, m.Authoritative, m.RecursionAvailable, m.AuthenticatedData, now.Add(life)}
}

// remaining returns the number of whole seconds for which d may still be used.
func (d *denial) remaining(now time.Time) uint32 {
	return uint32(max(d.until.Sub(now), 0) / time.Second)
}

// reply returns the answer of the cluster DNS to r, with the TTL ttl in seconds.
func (d *denial) reply(r *dns.Msg, ttl uint32) *dns.Msg {
	m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
	m.Authoritative, m.RecursionAvailable, m.AuthenticatedData = d.authoritative, d.recursion, d.authentic
	soa := dns.Copy(d.soa)
	soa.Header().Ttl = ttl
	m.Ns = []dns.RR{soa}
	return m
}
