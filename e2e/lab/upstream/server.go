// SPDX-License-Identifier: Apache-2.0

// Package upstream has the DNS servers that a cache asks: a stock CoreDNS with the zones of a cluster or of the world outside,
// and servers that are slow, follow a script or misbehave.
package upstream

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// Server is a stock CoreDNS. It keeps a list of the queries that it has answered.
type Server struct {
	*process.Process
	mu   sync.Mutex
	seen []Seen
}

// Seen is a query in the list of a Server.
type Seen struct {
	Name, Type, Proto string
	Source            netip.Addr
}

// logDirective makes CoreDNS print a line for each query, which parseSeen reads.
const logDirective = `log . "seen {remote} {proto} {type} {name}"`

// StartServer runs a stock CoreDNS in the namespace. Its Corefile should have the logDirective.
func StartServer(t testing.TB, n *netns.Namespace, corefile string) *Server {
	t.Helper()
	s := &Server{}
	s.Process = process.Start(t, n, process.Command{
		Path: harness.Stock(t), Args: []string{"-conf", harness.WriteFile(t, "Corefile", corefile)},
		Env: []string{"GOMAXPROCS=2"}, Line: s.note,
	})
	return s
}

func (s *Server) note(line string) bool {
	q, ok := parseSeen(line)
	if ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, q)
	}
	return ok
}

func parseSeen(line string) (Seen, bool) {
	_, rest, ok := strings.Cut(line, "] seen ")
	f := strings.Fields(rest)
	if !ok || len(f) != 4 {
		return Seen{}, false
	}
	source, err := netip.ParseAddr(strings.Trim(f[0], "[]"))
	return Seen{Source: source.Unmap(), Proto: f[1], Type: f[2], Name: f[3]}, err == nil
}

// Seen lists the queries whose name contains the text, in the order in which they were answered.
func (s *Server) Seen(name string) []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Seen
	for _, q := range s.seen {
		if strings.Contains(q.Name, name) {
			found = append(found, q)
		}
	}
	return found
}

// Forget empties the list.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}
