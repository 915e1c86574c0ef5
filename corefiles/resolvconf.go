// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/corefiles/words"
)

// nameservers returns the nameservers in the order of the file. It reads the file as miekg/dns does for CoreDNS's forward: only
// the second field of a line counts, so a comment may follow the address.
func (r ResolvConf) nameservers() []string {
	var servers []string
	for line := range strings.Lines(string(r.Text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	return servers
}

// upstreams returns the value of upstreamServers: the path of resolv.conf if all its nameservers can be used, else the list of the
// nameservers that can.
func (r ResolvConf) upstreams(isLocal func(netip.Addr) bool) value {
	if r.Path == "" {
		return value{err: errors.New("no resolv.conf is given, and the kube-dns ConfigMap sets no upstreamNameservers")}
	}
	if err := words.Check(r.Path); err != nil {
		return value{err: fmt.Errorf("path %q of resolv.conf: %w", r.Path, err)}
	}
	if len(r.Text) == 0 {
		return value{err: fmt.Errorf("%s is empty or does not exist", r.Path)}
	}
	all := r.nameservers()
	if len(all) == 0 {
		return value{err: fmt.Errorf("%s names no nameserver", r.Path)}
	}
	usable, warnings := r.usable(isLocal)
	switch len(usable) {
	case 0:
		return value{err: fmt.Errorf("none of the nameservers of %s can be asked (%s): "+
			"they are this cache itself, or no IP addresses; add another one there, or upstreamNameservers to the kube-dns ConfigMap",
			r.Path, strings.Join(all, " "))}
	case len(all):
		return value{text: r.Path, warnings: warnings}
	}
	return value{text: strings.Join(usable, " "), warnings: warnings}
}

// usable returns the nameservers that can be asked, and warnings of the others. isLocal tells the addresses of the cache.
func (r ResolvConf) usable(isLocal func(netip.Addr) bool) (usable, warnings []string) {
	for _, s := range r.nameservers() {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil || words.Check(s) != nil: // netip allows any text as a zone
			warnings = append(warnings, fmt.Sprintf("leaving out nameserver %q of %s: not an IP address", s, r.Path))
		case isLocal(addr):
			warnings = append(warnings, fmt.Sprintf(
				"leaving out nameserver %s of %s: it is this cache, which would ask itself", s, r.Path))
		default:
			usable = append(usable, s)
			warnings = append(warnings, words.ZoneWarning(addr, r.Path)...)
		}
	}
	return usable, warnings
}

// Detach replaces the path of r in the Corefile text with the nameservers of r. The text then keeps its meaning when the file
// changes. Nameservers that cannot be asked, such as those in local, are left out. ok is false if text has the path and no
// nameserver is left: then the meaning of text is not known. Detach returns a text that is no Corefile unchanged.
func (r ResolvConf) Detach(text []byte, local []netip.Addr) (detached []byte, ok bool) {
	tokens, err := scan(text)
	if err != nil {
		return text, true
	}
	usable, _ := r.usable(Params{LocalIPs: local}.isLocal)
	var edits []edit
	for _, t := range tokens {
		if t.text == r.Path && !t.quoted {
			edits = append(edits, edit{t.start, t.end, strings.Join(usable, " ")})
		}
	}
	if len(edits) > 0 && len(usable) == 0 {
		return text, false
	}
	return apply(text, edits), true
}
