// SPDX-License-Identifier: Apache-2.0

// Package corefiles makes the Corefile that runs, from a template, the flags, resolv.conf and the kube-dns ConfigMap.
//
// The template is edited, not rewritten. It may be a ConfigMap that was written for k8s-dns-node-cache, and its directives must
// keep their meaning. So Render replaces variables, and adds server blocks and the nodelocal stanza. Render refuses a template
// that cannot become a working Corefile, and names the file, the line and the cause. Otherwise CoreDNS would refuse the text
// when it starts, on every node at once.
package corefiles

import (
	"cmp"
	_ "embed" // for the templates
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

// Kubernetes is the template used in a cluster: cluster names go to the cluster DNS over TCP, others to the
// node's nameservers.
//
//go:embed kubernetes.corefile
var Kubernetes []byte

// Standalone is the template for a host without a cluster: all names go to its nameservers.
//
//go:embed standalone.corefile
var Standalone []byte

// Template is a Corefile with variables. Messages name Path.
type Template struct {
	Path string
	Text []byte
}

// ResolvConf is a resolv.conf file.
type ResolvConf Template

// Params is the input of Render beside the template.
type Params struct {
	LocalIPs           []netip.Addr   // addresses that the cache listens on
	Link               string         // name of the link that will hold LocalIPs; empty: another program holds them
	ClusterDNS         netip.Addr     // ClusterIP of UpstreamService; zero if its environment variable is not set
	UpstreamService    string         // name of the Service, for messages
	ClusterDomain      string         // such as cluster.local
	PrometheusEndpoint string         // such as :9253
	StateDir           string         // directory for files that outlive the process; empty: none
	Memory             memlimit.Limit // limit of the process; the variables for cache sizes depend on it
	ResolvConf         ResolvConf
	KubeDNS            kubedns.Config
	Stanza             Stanza // inserted if the template has no nodelocal stanza
	PacketCache        bool   // put packetcache into the server blocks that have none
	Port               uint16 // port of server blocks that name none; 0 means 53
	Path               string // path of the result: relative imports begin in its directory; empty: in the working directory
}

// Result is a rendered Corefile. Warnings name faults that the Corefile works with.
type Result struct {
	Text     []byte
	Warnings []string
	// Lines has for each line of Text the line of the template that the line was made from, from 1; 0 for a line that the template
	// does not have.
	Lines []int
}

func (p Params) port() uint16 { return cmp.Or(p.Port, 53) }

// isLocal reports whether the cache listens on addr. A query that the cache sends there would come back.
func (p Params) isLocal(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p.LocalIPs, func(ip netip.Addr) bool { return ip.Unmap() == addr })
}

// Render returns the Corefile for a template and p. Render reads only its arguments and, if there are stub domains, the files that
// the template imports. The same arguments and files give the same text.
func Render(template Template, p Params) (Result, error) {
	r, err := render(template, p)
	if err != nil {
		return Result{}, err
	}
	return Result{Text: apply(r.text, r.edits), Warnings: r.warnings, Lines: r.lines(template.Text)}, nil
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
	if p.ClusterDNS.Zone() != "" {
		return fmt.Errorf("checking the address of Service %q: address %q has a zone", p.UpstreamService, p.ClusterDNS)
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
