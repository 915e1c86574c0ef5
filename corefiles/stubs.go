// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// stubOptions are the last lines of the block of a stub domain. The root block of the template gives the reasons.
var stubOptions = []string{
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

// stubs returns the edit that appends a server block for each stub domain of the kube-dns ConfigMap. text is the Corefile after
// all other edits. end is the length of the Corefile before them.
func (l layout) stubs(t Template, text []byte, p Params, end int) (e edit, err error) {
	e = edit{start: end, end: end}
	domains := p.KubeDNS.Domains()
	if len(domains) == 0 {
		return e, nil
	}
	m, err := p.model(text)
	if err != nil {
		return e, err
	}
	for _, domain := range domains {
		if err := l.checkStub(t.Path, domain, p, m); err != nil {
			return e, kubedns.Error{Key: kubedns.StubDomainsKey, Err: fmt.Errorf("adding stub domain %q of the kube-dns ConfigMap: %w", domain, err)}
		}
	}
	eol := eol(text)
	var b strings.Builder
	if text[len(text)-1] != '\n' {
		b.WriteString(eol)
	}
	for _, domain := range domains {
		for _, line := range m.stub(domain, p) {
			b.WriteString(line + eol)
		}
	}
	e.text = b.String()
	return e, nil
}

// stub returns the lines of the server block of a stub domain of p.
func (m model) stub(domain string, p Params) []string {
	lines := []string{"", "# A stub domain of the kube-dns ConfigMap.", fmt.Sprintf("%s:%d {", words.Normal(domain), p.port())}
	for _, directive := range []string{"packetcache", "nsid", "keep"} {
		if Has(m.blocks, directive) {
			lines = append(lines, "    "+directive)
		}
	}
	for _, bind := range m.bind {
		lines = append(lines, strings.Split(bind, "\n")...)
	}
	lines = append(lines, "    fairshare 1000", "    forward . "+strings.Join(p.KubeDNS.StubDomains[domain], " ")+" {", "        prefer_udp")
	lines = append(lines, m.forward...)
	for _, line := range stubOptions {
		lines = append(lines, strings.ReplaceAll(line, cacheSmall, p.entries(cacheSmall)))
	}
	return lines
}

func (l layout) checkStub(path, domain string, p Params, m model) error {
	if last := l.servers[len(l.servers)-1]; !last.braces {
		t := l.tokens[last.first]
		return fmt.Errorf("%s:%d: server block %s has no braces, so that none can follow it", path, t.line, t.text)
	}
	name := words.Normal(domain)
	for _, b := range m.blocks {
		for _, key := range b.Keys {
			if isZone(key, name, p.port()) {
				return fmt.Errorf("%s has a server block for it already, %s", l.whereIs(b, name, p.port(), path), key)
			}
		}
	}
	return nil
}

// whereIs returns FILE:LINE of the zone name, in its normal form, at port among the keys of the template or of a file that b
// imports. Otherwise whereIs returns path, the path of the template.
func (l layout) whereIs(b caddyfile.ServerBlock, name string, port uint16, path string) string {
	for _, server := range l.servers {
		for _, key := range server.keys {
			if isZone(key.text, name, port) {
				return fmt.Sprintf("%s:%d", path, key.line)
			}
		}
	}
	for _, tokens := range b.Tokens {
		for _, t := range tokens {
			text, err := os.ReadFile(t.File)
			if err != nil {
				continue // the token is in the Corefile itself, or the file is gone
			}
			keys, _ := scan(text) // caddyfile has parsed the text without an error
			for _, key := range keys {
				if isZone(strings.TrimSuffix(key.text, ","), name, port) {
					return fmt.Sprintf("%s:%d", t.File, key.line)
				}
			}
		}
	}
	return path + " (by an import or a variable)"
}

// isZone reports whether key, of a server block, is the zone name, in its normal form, at port.
func isZone(key, name string, port uint16) bool {
	n, at, ok := zone(key, port)
	return ok && n == name && at == int(port)
}

// zone returns the normal name and the port of a key of a server block. ok is false if the key cannot be compared with a stub
// domain: it has another protocol or an environment variable.
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
	return words.Normal(name), port, true
}
