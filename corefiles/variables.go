// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// The variables of the templates of k8s-dns-node-cache, and those of this project.
const (
	localDNS           = "__PILLAR__LOCAL__DNS__"
	dnsServer          = "__PILLAR__DNS__SERVER__"
	dnsDomain          = "__PILLAR__DNS__DOMAIN__"
	clusterDNS         = "__PILLAR__CLUSTER__DNS__"
	upstreamServers    = "__PILLAR__UPSTREAM__SERVERS__"
	prometheusEndpoint = "__PROMETHEUS__ENDPOINT__"
	stateDir           = "__NODELOCALDNS__STATE__DIR__"
	cacheLarge         = "__NODELOCALDNS__CACHE__9984__"
	cacheMedium        = "__NODELOCALDNS__CACHE__4096__"
	cacheSmall         = "__NODELOCALDNS__CACHE__2048__"
)

// variables holds all variables in the order in which messages name them.
var variables = []string{localDNS, dnsServer, dnsDomain, clusterDNS, upstreamServers, prometheusEndpoint, stateDir,
	cacheLarge, cacheMedium, cacheSmall}

// value is the value of a variable.
type value struct {
	text     string   // words, separated by spaces
	host     string   // replaces the variable before a colon and a port; empty: text does
	warnings []string // for a template with the variable
	err      error    // why there is no value
}

// values returns the value of each words.Variable. A missing value is an error only if the template uses it.
func (p Params) values() map[string]value {
	values := map[string]value{
		// The manifest of k8s-dns-node-cache has both behind bind. localDNS has all addresses of -localip.
		localDNS:           addrValue("-localip names no address", p.LocalIPs...),
		dnsServer:          {},
		clusterDNS:         p.clusterDNS(),
		upstreamServers:    p.upstreams(),
		dnsDomain:          flagValue("-clusterdomain", p.ClusterDomain, words.CheckName),
		prometheusEndpoint: flagValue("-prometheus-listen-address", p.PrometheusEndpoint, words.Check),
		stateDir:           {}, // without it the plugin keep stores answers in memory only
	}
	if p.StateDir != "" {
		values[stateDir] = flagValue("-statedir", p.StateDir, words.Check)
	}
	for name := range usualEntries {
		values[name] = value{text: p.entries(name)}
	}
	return values
}

// usualEntries is the number of entries of one half of a cache without a memory limit.
var usualEntries = map[string]int{cacheLarge: 9984, cacheMedium: 4096, cacheSmall: 2048}

// entries returns the number of entries with the memory limit of p. The plugin cache divides them among 256 shards of at least 4
// entries.
func (p Params) entries(name string) string {
	const shards = 256
	return strconv.Itoa(max(p.Memory.Share(usualEntries[name])/shards, 4) * shards)
}

// flagValue returns the value of a flag, if check accepts it.
func flagValue(flag, text string, check func(string) error) value {
	if text == "" {
		return value{err: fmt.Errorf("%s is empty", flag)}
	}
	if err := check(text); err != nil {
		return value{err: fmt.Errorf("%s %q: %w", flag, text, err)}
	}
	return value{text: text}
}

func (p Params) clusterDNS() value {
	if p.UpstreamService == "" {
		return addrValue("-upstreamsvc names no Service", p.ClusterDNS)
	}
	if p.ClusterDNS.IsValid() && p.isLocal(p.ClusterDNS) {
		return value{err: fmt.Errorf("%s of Service %q is an address of this cache, which would ask itself; "+
			"name with -upstreamsvc a Service of the same pods that has another ClusterIP", p.ClusterDNS, p.UpstreamService)}
	}
	env := strings.ToUpper(strings.ReplaceAll(p.UpstreamService, "-", "_")) + "_SERVICE_HOST"
	return addrValue(fmt.Sprintf("the environment variable %s is not set; "+
		"does the Service %q exist in this pod's namespace (and did it before the pod started)? "+
		"name another with -upstreamsvc", env, p.UpstreamService), p.ClusterDNS)
}

// upstreams returns the servers for names outside the cluster: the nameservers of the kube-dns ConfigMap, or of resolv.conf.
func (p Params) upstreams() value {
	if servers := p.KubeDNS.UpstreamNameservers; len(servers) > 0 {
		return value{text: strings.Join(servers, " ")}
	}
	return p.ResolvConf.upstreams(p.isLocal)
}

// addrValue returns the value of addresses. missing says what is wrong if there are none.
func addrValue(missing string, addrs ...netip.Addr) value {
	if len(addrs) == 0 || !addrs[0].IsValid() {
		return value{err: errors.New(missing)}
	}
	return value{text: words.Join(addrs), host: words.Host(addrs[0])}
}

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
