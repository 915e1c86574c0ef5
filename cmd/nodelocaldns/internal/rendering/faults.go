// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
	"github.com/nodelocaldns/nodelocaldns/internal/suggest"
)

// Plugins are what this binary has, and has not, of CoreDNS's plugins, by their directives.
type Plugins struct {
	Known         []string
	NotCompiledIn map[string]string // by directive: the line of plugin.cfg that would add it
}

// Check refuses a Corefile that CoreDNS could not parse or whose directives this binary does not have. Caddy would find the
// same faults, but not say what to do.
func (p Plugins) Check(path string, text []byte) error {
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	if err != nil {
		return corefiles.Plain(err)
	}
	if len(blocks) == 0 {
		return fmt.Errorf("%s: no server block in it", path) // caddy would serve whoami instead
	}
	return p.firstMissing(path, blocks)
}

// checkTemplate looks for directives that this binary does not have in a template, to name the line that its author sees.
// Templates with an import are left to Check: the file may be there only beside the result.
func (p Plugins) checkTemplate(path string, text []byte) error {
	if bytes.Contains(text, []byte("import")) {
		return nil
	}
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	if err != nil {
		return nil // corefiles.Render has parsed it too, and more strictly
	}
	return p.firstMissing(path, blocks)
}

// firstMissing returns an error for the first directive that this binary does not have.
func (p Plugins) firstMissing(path string, blocks []caddyfile.ServerBlock) error {
	var first caddyfile.Token
	for _, b := range blocks {
		for directive, tokens := range b.Tokens {
			if slices.Contains(p.Known, directive) {
				continue
			}
			if t := tokens[0]; first.Text == "" || t.Line < first.Line || t.Line == first.Line && directive < first.Text {
				first = caddyfile.Token{File: t.File, Line: t.Line, Text: directive}
			}
		}
	}
	if first.Text == "" {
		return nil
	}
	return fmt.Errorf("%s: %w", position(path, first), p.missing(first.Text))
}

// missing says why directive cannot be used, and what helps.
func (p Plugins) missing(directive string) error {
	if line, ok := p.NotCompiledIn[directive]; ok {
		return fmt.Errorf("directive %q is part of CoreDNS but not of this binary: add the line %q to plugin.cfg and run make build",
			directive, line)
	}
	if directive == "proxy" {
		return errors.New(`unknown directive "proxy": use forward, which has taken its place (forward . 10.96.0.10)`)
	}
	return fmt.Errorf("unknown directive %q%s", directive, suggest.Hint(" (did you mean %q?)", directive, p.Known))
}

// bindError matches the text of package net for a failed bind. Caddy passes errors on as text only.
var bindError = regexp.MustCompile(`listen (tcp|udp)\d? (\S+): bind: (.+)$`)

// Explain adds what can be done about a start that failed for a known cause.
func Explain(err error, port uint16) error {
	m := bindError.FindStringSubmatch(err.Error())
	if m == nil {
		return corefiles.Plain(err)
	}
	network, addr, cause := m[1], m[2], m[3]
	hint, who := "", ""
	switch _, p, _ := net.SplitHostPort(addr); {
	case strings.HasSuffix(cause, "address already in use") && p == strconv.Itoa(int(port)):
		hint = ": another DNS server listens there; stop it or change -localip or -dns.port"
		who = holder(network, addr)
	case strings.HasSuffix(cause, "address already in use"):
		hint = ": another program listens there; stop it or change the Corefile"
		who = holder(network, addr)
	case strings.HasSuffix(cause, "cannot assign requested address"):
		hint = ": no interface has this address; is -setupinterface=false or link none in effect?"
	case strings.HasSuffix(cause, "permission denied"):
		hint = ": this port needs root or CAP_NET_BIND_SERVICE"
	}
	return fmt.Errorf("listening on %s (%s): %s%s%s", addr, network, cause, hint, who)
}

// IsBindError reports whether err says that a server could not listen.
func IsBindError(err error) bool {
	return strings.HasPrefix(err.Error(), "Listen") || bindError.MatchString(err.Error())
}

// holder says who has the port and, if it is dnsmasq, what its configuration lacks.
func holder(network, addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return "" // of all addresses, as ":8080"
	}
	who := sockets.Holder(network, at)
	if who == "" {
		return ""
	}
	if strings.Contains(who, "(dnsmasq)") {
		who += ": with bind-dynamic it takes each new address, unless its configuration has except-interface=nodelocaldns*"
	}
	return "; " + who
}
