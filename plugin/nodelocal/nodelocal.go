// SPDX-License-Identifier: Apache-2.0

// Package nodelocal is the CoreDNS plugin that owns a node-local cache's piece of the node's network. It puts the cache's
// addresses on a link and steers DNS to them while, and only while, the cache answers.
package nodelocal

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/capture"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// Nodelocal is the plugin's handler, in each server block of a Corefile that has the stanza. It answers the
// queries that the cache asks itself. It refuses a probe for loops that has come back too often, and passes on everything else.
type Nodelocal struct {
	Next plugin.Handler
	node *node
}

// Name implements plugin.Handler.
func (*Nodelocal) Name() string { return "nodelocal" }

// ServeDNS implements plugin.Handler. Self-queries are answered before any other plugin sees them, so no other
// plugin counts or logs them.
func (h *Nodelocal) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if isSelfQuery(r) {
		if !fromItself(w) {
			busiest.Process.Handle(ctx, w, r) // a client that could hide a flood otherwise
		}
		return dns.RcodeSuccess, w.WriteMsg(selfAnswer(r, h.node.token))
	}
	switch probe, tooOften := h.node.loopCheck.Load().Note(w.RemoteAddr(), r); {
	case tooOften:
		return dns.RcodeRefused, nil
	case probe:
		// Nobody reads the answer. A server that ends must not wait for an upstream that does not answer it.
		detached := &capture.Writer{Local: w.LocalAddr(), Remote: w.RemoteAddr()}
		go func() { _, _ = plugin.NextOrFailure(h.Name(), h.Next, busiest.Own(ctx), detached, r.Copy()) }()
		return dns.RcodeSuccess, nil
	}
	ctx, w = busiest.Process.Handle(ctx, w, r)
	return plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
}

// fromItself reports whether a query comes from the address that it went to, as a self-query does: the kernel takes the target's
// address for the source if the host has it.
func fromItself(w dns.ResponseWriter) bool {
	return shares.Client(shares.Address(w.RemoteAddr())) == shares.Client(shares.Address(w.LocalAddr()))
}

// Ready implements ready.Readiness. It returns true while every address is steered.
func (h *Nodelocal) Ready() bool { return h.node.ready.Load() }

const (
	// selfQueryTimeout bounds one self-query, which never leaves the host.
	selfQueryTimeout = 500 * time.Millisecond
	// queries is how many self-queries ask an address at once. Sockets of another instance and of the packet cache may share the
	// address, and the kernel picks one of them by the source port of the query.
	queries = 4
)

// selfLabels is the second and third label of a self-query's name. The first label is random, so that no cache on
// the way can answer.
const selfLabels = "selfquery.nodelocaldns."

func isSelfQuery(r *dns.Msg) bool {
	if len(r.Question) != 1 || r.Question[0].Qtype != dns.TypeTXT {
		return false
	}
	_, rest, ok := strings.Cut(r.Question[0].Name, ".")
	return ok && strings.HasPrefix(rest, selfLabels)
}

// selfAnswer returns the answer to the self-query r. The token names the process that answers.
func selfAnswer(r *dns.Msg, token string) *dns.Msg {
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	m.Answer = []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET},
		Txt: []string{token},
	}}
	return m
}

// A verdict is what a round of self-queries to one address says.
type verdict int

const (
	failed   verdict = iota // a query was not answered
	foreign                 // only other instances' sockets answered
	answered                // this process answered
	unasked                 // this process had no descriptor for a query, which says nothing of the cache
)

var verdictNames = [...]string{"failed", "foreign", "answered", "unasked"}

// ask asks every address at once and waits at most selfQueryTimeout for all answers. The names are in a zone of the server
// block with the plugin. The verdicts have the order of addrs.
func ask(addrs []netip.Addr, port uint16, zone, token string) []verdict {
	results := make([][queries]verdict, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		for q := range queries {
			wg.Go(func() { results[i][q] = askOnce(netip.AddrPortFrom(a, port), zone, token) })
		}
	}
	wg.Wait()
	out := make([]verdict, len(addrs))
	for i, r := range results {
		out[i] = summary(r[:])
	}
	return out
}

// summary returns the verdict of several queries to one address. A query without an answer says that a socket of the address is
// dead: clients' queries go to that socket, too.
func summary(results []verdict) verdict {
	sum := unasked
	for _, v := range results {
		switch {
		case v == failed:
			return failed
		case v == answered, v == foreign && sum == unasked:
			sum = v
		}
	}
	return sum
}

func askOnce(server netip.AddrPort, zone, token string) verdict {
	name := rand.Text() + "." + selfLabels + strings.TrimPrefix(zone, ".")
	ctx, cancel := context.WithTimeout(context.Background(), selfQueryTimeout)
	defer cancel()
	c := dns.Client{Net: "udp", Timeout: selfQueryTimeout, Dialer: &net.Dialer{Control: mark}}
	m := new(dns.Msg).SetQuestion(name, dns.TypeTXT)
	r, _, err := c.ExchangeContext(ctx, m, server.String())
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return unasked
	}
	if err != nil || len(r.Answer) != 1 {
		return failed
	}
	if txt, ok := r.Answer[0].(*dns.TXT); ok && len(txt.Txt) == 1 && txt.Txt[0] == token {
		return answered
	}
	return foreign
}

// mark gives the query's socket the mark with which the query reaches the cache, whatever the state of steering and fallback.
func mark(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, hostnet.SelfQueryMark)
	})
	return errors.Join(cerr, err)
}
