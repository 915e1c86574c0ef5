// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
)

// Render returns the Corefile for a template and p. Render reads only its arguments and, if there are stub domains, the files that
// the template imports. The same arguments and files give the same text.
func Render(template Template, p Params) (Result, error) {
	r, err := render(template, p)
	if err != nil {
		return Result{}, err
	}
	return Result{Text: apply(r.text, r.edits), Warnings: r.warnings}, nil
}

// rendering holds the results of the two steps of Render. The structure of a Corefile is known only after the first step, because
// a variable may stand for several tokens or for none.
type rendering struct {
	substitution        // of the template's text
	edits        []edit // of the substitution's text
}

func render(t Template, p Params) (rendering, error) {
	if len(t.Text) > kubedns.MaxSize {
		return rendering{}, fmt.Errorf("%s: %d bytes are too many for a template; want %d at most", t.Path, len(t.Text), kubedns.MaxSize)
	}
	if err := p.check(); err != nil {
		return rendering{}, err
	}
	s, err := substitute(t, p.values())
	if err != nil {
		return rendering{}, err
	}
	r := rendering{substitution: s}
	l, err := parse(t.Path, s.text)
	if err != nil {
		return rendering{}, err
	}
	stanza, line := l.stanza(s.text, p.Stanza)
	if line == 0 {
		r.edits = append(r.edits, stanza)
	} else if options := p.Stanza.lines(); len(options) > 0 {
		r.warnings = append(r.warnings, fmt.Sprintf(
			"%s:%d: the template has a nodelocal stanza of its own, so these flags change nothing: %q", t.Path, line, options))
	}
	if p.PacketCache {
		r.edits = append(r.edits, l.packetCache(s.text, p)...)
	}
	r.edits = append(r.edits, l.bindLink(p)...)
	if len(p.KubeDNS.UpstreamNameservers) > 0 {
		r.edits = append(r.edits, l.preferUDP(s.text, s.upstream)...)
	}
	slices.SortStableFunc(r.edits, func(a, b edit) int { return a.start - b.start }) // what is put in at one place stays in this order
	stubs, err := l.stubs(t, apply(s.text, r.edits), p, len(s.text))
	if err != nil {
		return rendering{}, err
	}
	if stubs.text != "" {
		r.edits = append(r.edits, stubs)
	}
	r.warnings = append(r.warnings, p.KubeDNS.Warnings()...)
	return r, nil
}

// check returns an error if a value of p cannot be in a Corefile, or would make the cache ask itself.
func (p Params) check() error {
	if err := checkAddrs(p.LocalIPs); err != nil {
		return fmt.Errorf("checking -localip: %w", err)
	}
	if err := checkAddrs(valid(p.ClusterDNS)); err != nil {
		return fmt.Errorf("checking the address of Service %q: %w", p.UpstreamService, err)
	}
	if err := p.Stanza.check(); err != nil {
		return fmt.Errorf("checking flags: %w", err)
	}
	if err := p.KubeDNS.Check(); err != nil {
		return fmt.Errorf("checking kube-dns ConfigMap: %w", err)
	}
	return p.KubeDNS.CheckLoops(p.isLocal)
}

// checkAddrs returns an error for an address that some plugin would not read as an address.
func checkAddrs(addrs []netip.Addr) error {
	for _, addr := range addrs {
		if !addr.IsValid() {
			return errors.New("an address is missing")
		}
		if addr.Zone() != "" { // bind refuses it, and a zone may hold anything
			return fmt.Errorf("address %q has a zone", addr)
		}
	}
	return nil
}

// edit replaces text[start:end]. Render changes a template by lists of edits in ascending order and without overlaps. Every other
// byte stays.
type edit struct {
	start, end int
	text       string
}

func apply(text []byte, edits []edit) []byte {
	out := make([]byte, 0, len(text)+1024)
	pos := 0
	for _, e := range edits {
		out = append(out, text[pos:e.start]...)
		out = append(out, e.text...)
		pos = e.end
	}
	return append(out, text[pos:]...)
}
