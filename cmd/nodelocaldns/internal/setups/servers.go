// SPDX-License-Identifier: Apache-2.0

package setups

import (
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// server matches the parts of a server behind forward that may be a name: what is in front of it, the name, and what is behind it.
var server = regexp.MustCompile(`^((?:dns|tls|quic|https)://)?([A-Za-z0-9_][\w.-]*)((?::\d+)?(?:%.*)?)$`)

// placeholder stands for the address of a server that has a name (RFC 5737).
const placeholder = "192.0.2.1"

// offline returns f with an address in the place of each name of a server: the setup of forward looks names up.
func (f Corefile) offline() Corefile {
	f.blocks = slices.Clone(f.blocks)
	for i, b := range f.blocks {
		if len(b.Tokens["forward"]) == 0 {
			continue
		}
		changed := maps.Clone(b.Tokens)
		changed["forward"] = slices.Clone(b.Tokens["forward"])
		for _, t := range servers(changed["forward"]) {
			if m := server.FindStringSubmatch(t.Text); m != nil && isName(m[2]) {
				t.Text = m[1] + placeholder + m[3]
			}
		}
		f.blocks[i].Tokens = changed
	}
	return f
}

// servers returns the words behind the zone of each forward directive.
func servers(tokens []caddyfile.Token) (list []*caddyfile.Token) {
	n := 0
	for _, d := range split(tokens) {
		for i := 2; i < len(d[0]); i++ {
			if t := &tokens[n+i]; t.Text != "{" {
				list = append(list, t)
			}
		}
		for _, line := range d {
			n += len(line)
		}
	}
	return list
}

// isName reports whether word is a name of a host, and neither a single word nor an address with a mistake in it.
func isName(word string) bool {
	labels := strings.Split(strings.TrimSuffix(word, "."), ".")
	top := strings.ToLower(labels[len(labels)-1])
	return len(labels) > 1 && words.CheckName(word) == nil && strings.ContainsAny(top, "abcdefghijklmnopqrstuvwxyz")
}

// checkServers refuses what forward would look up, and nobody can have meant to be a name.
func checkServers(directive string, tokens []caddyfile.Token) error {
	if directive != "forward" {
		return nil
	}
	for _, t := range servers(tokens) {
		if _, err := os.Stat(t.Text); err != nil && strings.HasPrefix(t.Text, "/") {
			return fmt.Errorf("looking for nameservers: %w", err)
		}
		m := server.FindStringSubmatch(t.Text)
		if m == nil || net.ParseIP(m[2]) != nil || isName(m[2]) {
			continue
		}
		if _, err := os.Stat(t.Text); err != nil {
			return fmt.Errorf("%q is no address of a server: want an IP address, a file such as /etc/resolv.conf, or a name with a dot in it", t.Text)
		}
	}
	return nil
}
