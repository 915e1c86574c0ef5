// SPDX-License-Identifier: Apache-2.0

// Package loads has the queries that the servers are asked, and the answers to them.
package loads

import (
	"fmt"
	"math/rand"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// SearchPath has the search domains of a pod. The last one is the search domain of the node.
var SearchPath = []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "compute.internal."}

const (
	hitNames  = 12
	externals = 1500  // names outside, each asked for in four search domains, too
	services  = 2500  // with the names outside there are 10,000 names
	lookups   = 50000 // the Zipf load repeats them

	// OutsideZone has the names outside of the cluster.
	OutsideZone = "example.org."

	answerTTL = 3600 // in seconds; a run is shorter
)

// Query is a packet without its ID, the response code that its answer is to have, and its line in dnsperf's file.
type Query struct {
	Wire  []byte
	RCode byte
	Text  string
}

// Load yields queries without end: Next writes a query and returns its length and the response code of its answer.
type Load interface {
	Next(buf []byte) (n int, rcode byte)
}

// New finds a load by its name: hits, zipf, misses or half.
func New(name string) (Load, error) {
	fresh := &numbered{prefix: strconv.FormatInt(time.Now().UnixNano(), 36)}
	switch name {
	case "hits":
		return &sequence{queries: Hits()}, nil
	case "zipf":
		return zipf(), nil
	case "misses":
		return fresh, nil
	case "half":
		return &alternating{loads: [2]Load{&sequence{queries: Hits()}, fresh}}, nil
	}
	return nil, fmt.Errorf("no load %q", name)
}

// sequence repeats its queries.
type sequence struct {
	queries []Query
	at      int
}

func (s *sequence) Next(buf []byte) (int, byte) {
	q := &s.queries[s.at]
	s.at = (s.at + 1) % len(s.queries)
	return copy(buf, q.Wire), q.RCode
}

// alternating takes a query from each load in turn.
type alternating struct {
	loads [2]Load
	turn  int
}

func (a *alternating) Next(buf []byte) (int, byte) {
	a.turn ^= 1
	return a.loads[a.turn].Next(buf)
}

// numbered asks for each name once.
type numbered struct {
	prefix string
	number int
	wire   []byte
	digits int // offset of the number in the packet
}

const digits = 8

func (m *numbered) Next(buf []byte) (int, byte) {
	if m.wire == nil {
		m.wire = Ask(fmt.Sprintf("%s-%0*d.%s", m.prefix, digits, 0, SearchPath[0]), dns.TypeA).Wire
		m.digits = 12 + 1 + len(m.prefix) + 1 // header, length of the label, hyphen
	}
	n := copy(buf, m.wire)
	for i, rest := m.digits+digits-1, m.number; rest > 0 && i >= m.digits; i, rest = i-1, rest/10 {
		buf[i] = byte('0' + rest%10)
	}
	m.number++
	return n, dns.RcodeSuccess
}

// Hits has the queries of the load hits.
func Hits() (queries []Query) {
	for i := range hitNames {
		queries = append(queries, Ask(ServiceName(i), dns.TypeA))
	}
	return queries
}

// ServiceName is the name of a Service.
func ServiceName(i int) string  { return fmt.Sprintf("service%d.%s", i, SearchPath[0]) }
func externalName(i int) string { return fmt.Sprintf("host%d.%s", i, OutsideZone) }

// lookup is what a C library with ndots:5 asks for a name: A and AAAA of each candidate.
func lookup(names ...string) (queries []Query) {
	for _, name := range names {
		queries = append(queries, Ask(name, dns.TypeA), Ask(name, dns.TypeAAAA))
	}
	return queries
}

// zipfLookups lists the look-ups by popularity, names outside and services mixed.
func zipfLookups() (all [][]Query) {
	for i := range externals + services {
		name := externalName(i)
		candidates := []string{}
		for _, domain := range SearchPath {
			candidates = append(candidates, name+domain)
		}
		if i%(externals+services) >= externals {
			candidates = nil
			name = ServiceName(i - externals)
		}
		all = append(all, lookup(append(candidates, name)...))
	}
	shuffle := rand.New(rand.NewSource(1))
	shuffle.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// ZipfQueries has each query of the load zipf once.
func ZipfQueries() (queries []Query) {
	for _, l := range zipfLookups() {
		queries = append(queries, l...)
	}
	return queries
}

// zipf has the look-ups' queries in the order in which they come, the same in each run.
func zipf() *sequence {
	s := &sequence{}
	all := zipfLookups()
	rank := rand.NewZipf(rand.New(rand.NewSource(2)), 1.1, 1, uint64(len(all)-1))
	for range lookups {
		s.queries = append(s.queries, all[rank.Uint64()]...)
	}
	return s
}

// Ask packs a query as a C library sends it: recursion desired, no EDNS.
func Ask(name string, qtype uint16) Query {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	wire, err := m.Pack()
	if err != nil {
		panic(err) // all names are in this file, and well-formed
	}
	return Query{wire, byte(rcode(name)), name + " " + dns.TypeToString[qtype]}
}

// Answer is what the server gives that the caches ask. Every name exists, except a name outside with a search domain behind it.
func Answer(r *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(r)
	m.RecursionAvailable = true
	q := r.Question[0]
	m.Rcode = rcode(strings.ToLower(q.Name))
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: answerTTL}
	switch {
	case m.Rcode == dns.RcodeSuccess && q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(10, 96, 7, 7)})
	case m.Rcode == dns.RcodeSuccess && q.Qtype == dns.TypeAAAA:
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: net.ParseIP("fd00:96::77")})
	default:
		m.Ns = append(m.Ns, soa(q.Name))
	}
	return m
}

// rcode is NXDOMAIN for a name that does not exist.
func rcode(name string) int {
	if at := strings.Index(name, OutsideZone); at >= 0 && at+len(OutsideZone) < len(name) {
		return dns.RcodeNameError
	}
	return dns.RcodeSuccess
}

// soa is the SOA record of the zone that the last two labels of the name are.
func soa(name string) dns.RR {
	zone := name
	if labels := dns.Split(name); len(labels) > 2 {
		zone = name[labels[len(labels)-2]:]
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: answerTTL},
		Ns:  "ns." + zone, Mbox: "hostmaster." + zone, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: answerTTL,
	}
}
