// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// denialLife is how long a denial is used at most, as long as the default template's cache keeps one.
	denialLife = 5 * time.Second
	// leastLife is how long it has to live to be used at all: the last second is not used.
	leastLife = 2 * time.Second
)

// statement is what an answer says of the name that was asked for.
type statement int

const (
	// silence is no statement: no answer, a failure, a refusal, a part of an answer, or NXDOMAIN for a name that was not
	// asked in lower case.
	silence statement = iota
	// exists is NOERROR, with or without data.
	exists
	// denied is NXDOMAIN, no answer, and the SOA of the zone alone: nothing else is denied in the zone's own name.
	denied
	// otherwise is any other NXDOMAIN. One with a CNAME denies another name (RFC 6604), one with the SOA of another
	// zone is somebody else's word, and one without SOA does not say for how long it holds.
	otherwise
)

// String implements fmt.Stringer. It is a label of the metrics, too.
func (s statement) String() string {
	return [...]string{"silence", "exists", "denied", "otherwise"}[s]
}

// denial is what the cluster DNS said of a name that does not exist.
type denial struct {
	soa                                 *dns.SOA
	qtype                               uint16 // which one of A and AAAA was asked
	authoritative, recursion, authentic bool   // flags of the answer
	until                               time.Time
}

// read returns what m says of q, a name in zone. The denial is nil if it says something else, or does not live for leastLife.
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

// remaining returns for how many whole seconds d may still be used.
func (d *denial) remaining(now time.Time) uint32 {
	return uint32(max(d.until.Sub(now), 0) / time.Second)
}

// reply returns the answer to r that the cluster DNS would give, with a TTL of its own, in seconds.
func (d *denial) reply(r *dns.Msg, ttl uint32) *dns.Msg {
	m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
	m.Authoritative, m.RecursionAvailable, m.AuthenticatedData = d.authoritative, d.recursion, d.authentic
	soa := dns.Copy(d.soa)
	soa.Header().Ttl = ttl
	m.Ns = []dns.RR{soa}
	return m
}
