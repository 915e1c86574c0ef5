// SPDX-License-Identifier: Apache-2.0

// Package infront puts the plugins of this repository into the Corefiles of CoreDNS's own tests. Command coredns, in the directory
// above, compiles the package into a copy of these tests.
package infront

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
)

// mark is the first line of a Corefile that Corefile has changed.
const mark = "# with the plugins of nodelocaldns\n"

// Corefile puts the plugins that a rule allows into each server block of text, and replaces port 0 by port: packetcache needs an
// address with a port. A text that caddy cannot parse stays as it is, since a test wants to see it refused. So does one without
// braces.
//
//   - A server block for plain DNS that has a plugin gets packetcache and an address. packetcache itself decides where it is used.
//   - A server block with forward gets searchpath, fairshare and keep. It gets no keep if a plugin answers each client differently
//     (README of keep).
//   - A forward without options, to addresses that are asked in plain DNS, gets hedge for the same zone in front.
func Corefile(text string, port int) string {
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(text), nil)
	if err != nil || strings.HasPrefix(text, mark) {
		return text
	}
	headers := headersOf(text)
	if len(headers) != len(blocks) {
		return text
	}
	var b strings.Builder
	b.WriteString(mark)
	done := 0
	for i, h := range headers {
		b.WriteString(text[done:h.from])
		b.WriteString(anyPort.ReplaceAllStringFunc(text[h.from:h.to], func(key string) string {
			if isPlain(key) {
				key = strings.Replace(key, ":0", fmt.Sprintf(":%d", port), 1)
			}
			return key
		}))
		b.WriteString(directives(blocks[i]))
		done = h.to
	}
	return b.String() + text[done:]
}

// anyPort is a key of a server block with port 0.
var anyPort = regexp.MustCompile(`\S*:0[\s,]`)

// isPlain reports whether a server block's key is for DNS over UDP and TCP.
func isPlain(key string) bool {
	return !strings.Contains(key, "://") || strings.HasPrefix(key, "dns://")
}

// A header is the part of a Corefile from behind the last server block to the brace of the next, in octets.
type header struct{ from, to int }

// word is a comment, or what lies between white space.
var word = regexp.MustCompile(`#[^\n]*|"(?:[^"\\]|\\.)*"|\S+`)

// headersOf returns the headers of all server blocks, without those of snippets.
func headersOf(text string) (all []header) {
	depth, from, first := 0, 0, ""
	for _, at := range word.FindAllStringIndex(text, -1) {
		w := text[at[0]:at[1]]
		switch {
		case strings.HasPrefix(w, "#"):
			continue
		case w == "{":
			if depth++; depth == 1 && !strings.HasPrefix(first, "(") {
				all = append(all, header{from, at[1]})
			}
		case w == "}":
			if depth--; depth == 0 {
				from, first = at[1], ""
			}
			continue
		}
		if first == "" {
			first = w
		}
	}
	return all
}

// directives returns the lines that b gets.
func directives(b caddyfile.ServerBlock) string {
	if len(b.Tokens) == 0 || slices.ContainsFunc(b.Keys, func(key string) bool { return !isPlain(key) }) {
		return ""
	}
	lines := []string{"", "packetcache"}
	if !has(b, "bind") {
		lines = append(lines, "bind 127.0.0.1")
	}
	if has(b, "forward") {
		lines = append(lines, "fairshare", "searchpath "+strings.Join(zones(b.Keys), " "))
		if !has(b, "whoami", "erratic", "template", "acl", "autopath", "rewrite") {
			lines = append(lines, "keep")
		}
		lines = append(lines, hedges(b.Tokens["forward"])...)
	}
	return strings.Join(lines, "\n\t") + "\n"
}

func has(b caddyfile.ServerBlock, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := b.Tokens[name]; return ok })
}

// zones returns the zones of a server block that searchpath accepts. A block for all names has the zones of the tests instead.
func zones(keys []string) (all []string) {
	for _, key := range keys {
		for _, z := range plugin.Host(key).NormalizeExact() {
			if z != "." && !strings.HasSuffix(z, ".arpa.") && !strings.HasSuffix("."+z, ".arpa.") {
				all = append(all, z)
			}
		}
	}
	if len(all) == 0 {
		return []string{"cluster.local", "example.org"}
	}
	return all
}

// hedges returns a line of hedge for each directive of forward; none if one of them has options or another transport.
func hedges(tokens []caddyfile.Token) (lines []string) {
	d := caddyfile.NewDispenserTokens("Corefile", tokens)
	for d.Next() {
		args := d.RemainingArgs()
		if d.NextBlock() || len(args) < 2 || slices.ContainsFunc(args[1:], notPlain) {
			return nil
		}
		lines = append(lines, "hedge "+strings.Join(args, " "))
	}
	return lines
}

// notPlain reports whether an upstream is anything but an IP address, with or without a port.
func notPlain(to string) bool {
	_, err := netip.ParseAddr(to)
	_, errPort := netip.ParseAddrPort(to)
	return err != nil && errPort != nil
}
