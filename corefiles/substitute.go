// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// variable finds variables, and what was meant to be one: words in capitals with double underscores around them.
var variable = regexp.MustCompile(`__(?:PILLAR|PROMETHEUS|NODELOCALDNS)__(?:(?:[A-Z0-9]+__)+|\w*)`)

// substitution is a template with its variables replaced.
type substitution struct {
	edits    []edit
	text     []byte
	warnings []string
	upstream []span // where in text the value of upstreamServers stands, outside comments
}

// span is a range of bytes, half open.
type span struct{ start, end int }

// substitute replaces the variables of t. In a comment a variable that has no value stays: the reference's
// manifest explains its variables there.
func substitute(t Template, values map[string]value) (substitution, error) {
	var s substitution
	tokens, err := scan(t.Text)
	if err != nil {
		return s, fmt.Errorf("%s:%w", t.Path, err)
	}
	used := map[string]bool{}
	next, shift := 0, 0
	for _, m := range variable.FindAllIndex(t.Text, -1) {
		for next < len(tokens) && tokens[next].end <= m[0] {
			next++
		}
		name := string(t.Text[m[0]:m[1]])
		v, known := values[name]
		e := edit{m[0], m[1], v.at(t.Text, m[0], m[1])}
		inToken := next < len(tokens) && tokens[next].start <= m[0]
		if inToken {
			if err := check(name, v, known, e.text, tokens[next]); err != nil {
				return s, fmt.Errorf("%s:%d: %w", t.Path, lineAt(t.Text, m[0]), err)
			}
			if !used[name] {
				s.warnings = append(s.warnings, v.warnings...)
			}
			used[name] = true
		} else if !known || v.err != nil || glued(t.Text, tokens[:next], m[0]) {
			continue
		}
		s.edits = append(s.edits, e)
		if inToken && name == upstreamServers {
			s.upstream = append(s.upstream, span{e.start + shift, e.start + shift + len(e.text)})
		}
		shift += len(e.text) - (e.end - e.start)
	}
	s.text = apply(t.Text, s.edits)
	return s, leftover(t.Path, s.text)
}

// check returns an error if variable name has no value, or text cannot replace it in t.
func check(name string, v value, known bool, text string, t token) error {
	switch {
	case !known:
		return fmt.Errorf("%s is no variable; there are %s", name, strings.Join(variables, ", "))
	case v.err != nil:
		return fmt.Errorf("%s has no value: %w", name, v.err)
	case t.quoted && strings.Contains(text, " "):
		return fmt.Errorf("%s stands for several words (%s), and quotes would make one of them", name, text)
	}
	return nil
}

// at returns what replaces the variable at text[start:end].
func (v value) at(text []byte, start, end int) string {
	after := text[end:]
	switch {
	case v.host == "":
		return v.text
	case bytes.HasPrefix(after, []byte(":")):
		return v.host
	case start > 0 && text[start-1] == '[' && bytes.HasPrefix(after, []byte("]:")):
		return strings.Trim(v.host, "[]") // the form that Kubernetes' documentation gives for IPv6
	}
	return v.text
}

// glued reports whether pos stands in a comment that begins within a token. Such a comment ends with the next
// white space, so a value of two words would leave it.
func glued(text []byte, before []token, pos int) bool {
	if len(before) == 0 || before[len(before)-1].quoted {
		return false
	}
	between := text[before[len(before)-1].end:pos]
	return !bytes.ContainsFunc(between, func(r rune) bool { return unicode.IsSpace(r) && r != '\r' })
}

// leftover returns an error if a token still holds a variable, as where a carriage return splits its name.
func leftover(path string, text []byte) error {
	tokens, err := scan(text)
	if err != nil {
		return fmt.Errorf("%s:%w", path, err)
	}
	for _, t := range tokens {
		if name := variable.FindString(t.text); name != "" {
			return fmt.Errorf("%s:%d: %s is left after the variables were replaced", path, t.line, name)
		}
	}
	return nil
}

func lineAt(text []byte, pos int) int { return 1 + bytes.Count(text[:pos], []byte("\n")) }

// The variables of the reference's templates, and ours.
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

// variables is all of them, in the order in which messages name them.
var variables = []string{localDNS, dnsServer, dnsDomain, clusterDNS, upstreamServers, prometheusEndpoint, stateDir,
	cacheLarge, cacheMedium, cacheSmall}

// value is what a variable stands for.
type value struct {
	text     string   // words with a space between them
	host     string   // if not empty: takes the place of text before a colon and a port
	warnings []string // issued if the variable is used
	err      error    // why there is no value
}

// values returns the value of each variable. That one is missing is an error only if the template uses it.
func (p Params) values() map[string]value {
	values := map[string]value{
		// The reference's manifest writes both after bind. All addresses are in -localip, and so in the first.
		localDNS:        addrValue(p.LocalIPs, "-localip names no address"),
		dnsServer:       {},
		clusterDNS:      p.clusterDNS(),
		upstreamServers: p.upstreams(),
	}
	domain := value{text: p.ClusterDomain}
	if p.ClusterDomain == "" {
		domain.err = errors.New("-clusterdomain is empty")
	} else if err := CheckName(p.ClusterDomain); err != nil {
		domain.err = fmt.Errorf("-clusterdomain %q: %w", p.ClusterDomain, err)
	}
	values[dnsDomain] = domain
	endpoint := value{text: p.PrometheusEndpoint}
	if p.PrometheusEndpoint == "" {
		endpoint.err = errors.New("-prometheus-listen-address is empty")
	} else if err := checkWord(p.PrometheusEndpoint); err != nil {
		endpoint.err = fmt.Errorf("-prometheus-listen-address %q: %w", p.PrometheusEndpoint, err)
	}
	values[prometheusEndpoint] = endpoint
	values[stateDir] = p.stateDir()
	for name := range usualEntries {
		values[name] = value{text: p.entries(name)}
	}
	return values
}

// usualEntries is how many entries a half of a cache has without a memory limit.
var usualEntries = map[string]int{cacheLarge: 9984, cacheMedium: 4096, cacheSmall: 2048}

// entries returns how many entries that half has with p's memory limit. The plugin cache divides them among 256 shards, of at least 4 entries each.
func (p Params) entries(name string) string {
	const shards = 256
	return strconv.Itoa(max(p.Memory.Share(usualEntries[name])/shards, 4) * shards)
}

// stateDir may be empty: a directive that is given none keeps its state in memory.
func (p Params) stateDir() value {
	if err := checkWord(p.StateDir); err != nil {
		return value{err: fmt.Errorf("-statedir %q: %w", p.StateDir, err)}
	}
	return value{text: p.StateDir}
}

func (p Params) clusterDNS() value {
	if p.UpstreamService == "" {
		return addrValue(valid(p.ClusterDNS), "-upstreamsvc names no Service")
	}
	if p.ClusterDNS.IsValid() && p.isLocal(p.ClusterDNS) {
		return value{err: fmt.Errorf("%s of Service %q is an address of this cache, which would ask itself; "+
			"name with -upstreamsvc a Service of the same pods that has another ClusterIP", p.ClusterDNS, p.UpstreamService)}
	}
	env := strings.ToUpper(strings.ReplaceAll(p.UpstreamService, "-", "_")) + "_SERVICE_HOST"
	return addrValue(valid(p.ClusterDNS), fmt.Sprintf("the environment variable %s is not set; "+
		"does the Service %q exist in this pod's namespace (and did it before the pod started)? "+
		"name another with -upstreamsvc", env, p.UpstreamService))
}

// upstreams is where names outside the cluster are asked for: the nameservers of the kube-dns ConfigMap, else
// those of resolv.conf.
func (p Params) upstreams() value {
	if servers := p.KubeDNS.UpstreamNameservers; len(servers) > 0 {
		return value{text: strings.Join(servers, " ")}
	}
	return p.ResolvConf.upstreams(p.isLocal)
}

func valid(addr netip.Addr) []netip.Addr {
	if !addr.IsValid() {
		return nil
	}
	return []netip.Addr{addr}
}

func addrValue(addrs []netip.Addr, missing string) value {
	if len(addrs) == 0 {
		return value{err: errors.New(missing)}
	}
	host := addrs[0].String()
	if addrs[0].Is6() {
		host = "[" + host + "]"
	}
	return value{text: joinAddrs(addrs), host: host}
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, " ")
}
