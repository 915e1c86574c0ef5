// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// stubOptions is the rest of a stub domain's block, for the reasons that the template gives in the block of the root.
var stubOptions = []string{
	"        prefer_udp",
	"        read_timeout 1s",
	"        max_connect_attempts 4",
	"    }",
	"    errors {",
	`        consolidate 30s " i/o timeout$" error show_first`,
	`        consolidate 30s ": connection refused$" error show_first`,
	`        consolidate 30s "." error show_first`,
	"    }",
	"    cache {",
	"        success " + cacheSmall + " 30",
	"        denial " + cacheSmall + " 10",
	"        servfail 1s",
	"        prefetch 2 1m 20%",
	"        serve_stale 15m verify 500ms 10s 10s",
	"        serve_stale_policy prefer_positive",
	"    }",
	"}",
}

// stubs returns the edit that appends a server block for each stub domain of the kube-dns ConfigMap.
func (l layout) stubs(t Template, text []byte, p Params) (edit, error) {
	e := edit{start: len(text), end: len(text)}
	domains := p.KubeDNS.domains()
	if len(domains) == 0 {
		return e, nil
	}
	for _, domain := range domains {
		if err := l.checkStub(t.Path, domain, p); err != nil {
			return e, KubeDNSError{stubDomainsKey, fmt.Errorf("adding stub domain %q of the kube-dns ConfigMap: %w", domain, err)}
		}
	}
	eol := eol(text)
	var b strings.Builder
	if text[len(text)-1] != '\n' {
		b.WriteString(eol)
	}
	for _, domain := range domains {
		head := []string{
			"",
			"# A stub domain of the kube-dns ConfigMap.",
			normalName(domain) + ":" + strconv.Itoa(int(p.port())) + " {",
			"    bind " + joinAddrs(p.LocalIPs),
			"    fairshare 1000",
			"    forward . " + strings.Join(p.KubeDNS.StubDomains[domain], " ") + " {",
		}
		if l.has("keep") {
			head = slices.Insert(head, 3, "    keep")
		}
		if p.PacketCache || l.has("packetcache") {
			head = slices.Insert(head, 3, "    packetcache")
		}
		for _, line := range append(head, stubOptions...) {
			b.WriteString(strings.ReplaceAll(line, cacheSmall, p.entries(cacheSmall)) + eol)
		}
	}
	e.text = b.String()
	return e, nil
}

// has reports whether a server block of the template has the directive. Of packetcache and keep a stub domain's gets one, too.
func (l layout) has(directive string) bool {
	return slices.ContainsFunc(l.servers, func(b block) bool { return l.find(directive, b, map[string]bool{}) > 0 })
}

func (l layout) checkStub(path, domain string, p Params) error {
	if len(p.LocalIPs) == 0 {
		return errors.New("there is no address to bind it to: -localip names none")
	}
	if last := l.servers[len(l.servers)-1]; !last.braces {
		t := l.tokens[last.first]
		return fmt.Errorf("%s:%d: server block %s has no braces, so that none can follow it", path, t.line, t.text)
	}
	for _, b := range l.servers {
		for _, key := range b.keys {
			if name, port, ok := zone(key.text, p.port()); ok && name == normalName(domain) && port == int(p.port()) {
				return fmt.Errorf("%s:%d has a server block for it already, %s", path, key.line, key.text)
			}
		}
	}
	return nil
}

// zone returns the normal name and the port of a server block's key; ok is false for what cannot be compared with
// a stub domain: other protocols, environment variables.
func zone(key string, defaultPort uint16) (name string, port int, ok bool) {
	name = strings.TrimPrefix(key, "dns://")
	if strings.Contains(name, "://") || strings.ContainsAny(name, "{}") {
		return "", 0, false
	}
	port = int(defaultPort)
	if i := strings.LastIndexByte(name, ':'); i >= 0 { // as plugin.SplitHostPort does
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			name, port = name[:i], n
		}
	}
	return normalName(name), port, true
}
