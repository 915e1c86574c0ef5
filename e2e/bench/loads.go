// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// searchPath is a pod's, on a node that has a search domain of its own.
var searchPath = []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "compute.internal."}

const (
	hitNames  = 12
	externals = 1500  // names outside, each with its four in the search path
	services  = 2500  // so that there are 10,000 names
	lookups   = 50000 // of the Zipf load, before it begins again
)

// query is a packet without its ID, and the response code that it is to have.
type query struct {
	wire  []byte
	rcode byte
}

// load yields queries without end: next writes one and returns its length.
type load interface {
	next(buf []byte) (n int, rcode byte)
}

// newLoad finds a load by its name: hits, zipf, zipf-names (each name of zipf once), misses, half, or names:N, which are those
// from number N on.
func newLoad(name string) (load, error) {
	fresh := &numbered{prefix: strconv.FormatInt(time.Now().UnixNano(), 36)}
	switch kind, first, _ := strings.Cut(name, ":"); kind {
	case "hits":
		return &sequence{queries: hits()}, nil
	case "zipf":
		return zipf(), nil
	case "zipf-names":
		return &sequence{queries: zipfQueries()}, nil
	case "misses":
		return fresh, nil
	case "half":
		return &alternating{loads: [2]load{&sequence{queries: hits()}, fresh}}, nil
	case "names":
		n, err := strconv.Atoi(first)
		return &numbered{prefix: "name", number: n}, err
	}
	return nil, fmt.Errorf("no load %q", name)
}

// sequence repeats its queries, in the order given or as they are.
type sequence struct {
	queries []query
	order   []int
	at      int
}

func (s *sequence) next(buf []byte) (int, byte) {
	i, size := s.at, len(s.queries)
	if s.order != nil {
		i, size = s.order[s.at], len(s.order)
	}
	s.at = (s.at + 1) % size
	return copy(buf, s.queries[i].wire), s.queries[i].rcode
}

// alternating takes a query from each load in turn.
type alternating struct {
	loads [2]load
	turn  int
}

func (a *alternating) next(buf []byte) (int, byte) {
	a.turn ^= 1
	return a.loads[a.turn].next(buf)
}

// numbered asks for names that are never the same.
type numbered struct {
	prefix string
	number int
	wire   []byte
	digits int // where the number is in the packet
}

const digits = 8

func (m *numbered) next(buf []byte) (int, byte) {
	if m.wire == nil {
		m.wire = ask(fmt.Sprintf("%s-%0*d.%s", m.prefix, digits, 0, searchPath[0]), dns.TypeA).wire
		m.digits = 12 + 1 + len(m.prefix) + 1 // header, length of the label, hyphen
	}
	n := copy(buf, m.wire)
	for i, rest := m.digits+digits-1, m.number; rest > 0 && i >= m.digits; i, rest = i-1, rest/10 {
		buf[i] = byte('0' + rest%10)
	}
	m.number++
	return n, dns.RcodeSuccess
}

func hits() (queries []query) {
	for i := range hitNames {
		queries = append(queries, ask(serviceName(i), dns.TypeA))
	}
	return queries
}

func serviceName(i int) string  { return fmt.Sprintf("service%d.%s", i, searchPath[0]) }
func externalName(i int) string { return fmt.Sprintf("host%d.%s", i, outsideZone) }

// lookup is what a C library with ndots:5 asks for a name: A and AAAA of each candidate.
func lookup(names ...string) (queries []query) {
	for _, name := range names {
		queries = append(queries, ask(name, dns.TypeA), ask(name, dns.TypeAAAA))
	}
	return queries
}

// zipfLookups lists the look-ups by popularity, names outside and services mixed.
func zipfLookups() (all [][]query) {
	for i := range externals + services {
		name := externalName(i)
		candidates := []string{}
		for _, domain := range searchPath {
			candidates = append(candidates, name+domain)
		}
		if i%(externals+services) >= externals {
			candidates = nil
			name = serviceName(i - externals)
		}
		all = append(all, lookup(append(candidates, name)...))
	}
	shuffle := rand.New(rand.NewSource(1))
	shuffle.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func zipfQueries() (queries []query) {
	for _, l := range zipfLookups() {
		queries = append(queries, l...)
	}
	return queries
}

// zipf has the look-ups' queries in the order in which they come, the same in each run.
func zipf() *sequence {
	s := &sequence{}
	var firsts []int
	all := zipfLookups()
	for _, l := range all {
		firsts = append(firsts, len(s.queries))
		s.queries = append(s.queries, l...)
	}
	rank := rand.NewZipf(rand.New(rand.NewSource(2)), 1.1, 1, uint64(len(all)-1))
	for range lookups {
		l := int(rank.Uint64())
		for i := range all[l] {
			s.order = append(s.order, firsts[l]+i)
		}
	}
	return s
}

// ask packs a query as a C library sends it: recursion desired, no EDNS.
func ask(name string, qtype uint16) query {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	wire, err := m.Pack()
	if err != nil {
		panic(err) // the names are all ours
	}
	return query{wire, byte(rcode(name))}
}
