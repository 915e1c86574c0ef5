// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"net/netip"
)

// Render returns the Corefile that template stands for. It reads nothing but its arguments and, where there are stub
// domains, the files that the template imports: the same arguments and files give the same text.
func Render(template Template, p Params) (Result, error) {
	r, err := render(template, p)
	if err != nil {
		return Result{}, err
	}
	return Result{Text: apply(r.text, r.edits), Warnings: r.warnings}, nil
}

// rendering is the two steps of Render. The structure of a Corefile can be seen only after the variables are
// replaced, because one that stands for several words or for none makes other tokens.
type rendering struct {
	substitution        // of the template's text
	edits        []edit // of the substitution's text
}

func render(t Template, p Params) (rendering, error) {
	if len(t.Text) > maxSize {
		return rendering{}, fmt.Errorf("%s: %d bytes are too many for a template; want %d at most", t.Path, len(t.Text), maxSize)
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
	if len(p.KubeDNS.UpstreamNameservers) > 0 {
		r.edits = l.preferUDP(s.text, s.upstream)
	}
	for _, e := range l.bindLink(p) {
		r.edits = insert(r.edits, e)
	}
	if p.PacketCache {
		for _, e := range l.packetCache(s.text, p) {
			r.edits = insert(r.edits, e)
		}
	}
	stanza, line := l.stanza(s.text, p.Stanza)
	if line == 0 {
		r.edits = insert(r.edits, stanza)
	} else if options := p.Stanza.lines(); len(options) > 0 {
		r.warnings = append(r.warnings, fmt.Sprintf(
			"%s:%d: the template has a nodelocal stanza of its own, so these flags change nothing: %q", t.Path, line, options))
	}
	stubs, err := l.stubs(t, apply(s.text, r.edits), p, len(s.text))
	if err != nil {
		return rendering{}, err
	}
	if stubs.text != "" {
		r.edits = append(r.edits, stubs)
	}
	r.warnings = append(r.warnings, p.KubeDNS.warnings()...)
	return r, nil
}

// check returns an error if p has something in it that can be in no Corefile, or would make a loop.
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
	if err := p.KubeDNS.check(); err != nil {
		return fmt.Errorf("checking kube-dns ConfigMap: %w", err)
	}
	return p.checkLoops()
}

// checkLoops returns a KubeDNSError if a server of the kube-dns ConfigMap is this cache. A list is not shortened as
// that of resolv.conf is: somebody wrote it for this cluster, and has to hear of it.
func (p Params) checkLoops() error {
	const cause = "it is an address of this cache, which would ask itself"
	for _, domain := range p.KubeDNS.domains() {
		for _, s := range p.KubeDNS.StubDomains[domain] {
			if addr, _ := parseServer(s); p.isLocal(addr) {
				return KubeDNSError{stubDomainsKey, fmt.Errorf("checking kube-dns ConfigMap: %s: %q: server %q: %s", stubDomainsKey, domain, s, cause)}
			}
		}
	}
	for i, s := range p.KubeDNS.UpstreamNameservers {
		if addr, _ := parseServer(s); p.isLocal(addr) {
			return KubeDNSError{upstreamsKey, fmt.Errorf("checking kube-dns ConfigMap: %s: entry %d, %q: %s", upstreamsKey, i+1, s, cause)}
		}
	}
	return nil
}

// checkAddrs returns an error for an address that would not be one word and an address to all plugins.
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

// insert puts e into edits, which are in order.
func insert(edits []edit, e edit) []edit {
	i := 0
	for i < len(edits) && edits[i].start < e.start {
		i++
	}
	return append(edits[:i:i], append([]edit{e}, edits[i:]...)...)
}
