// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// edit replaces text[start:end]. Render changes a template by lists of edits in ascending order and without overlaps. Every other
// byte stays.
type edit struct {
	start, end int
	text       string
}

func apply(text []byte, edits []edit) []byte {
	out := make([]byte, 0, len(text)+1024)
	pos := 0
	for _, e := range edits {
		out = append(out, text[pos:e.start]...)
		out = append(out, e.text...)
		pos = e.end
	}
	return append(out, text[pos:]...)
}

// Stanza is a nodelocal stanza as Corefile text: what the flags say of the node's network.
type Stanza struct {
	Addresses []netip.Addr
	Options   [][]string // each a name and its values
}

// format returns the stanza as an operator would write it into a Corefile.
func (s Stanza) format(indent, step, eol string) string {
	var b strings.Builder
	b.WriteString(indent + "nodelocal")
	if len(s.Addresses) > 0 {
		b.WriteString(" " + words.Join(s.Addresses))
	}
	if len(s.Options) > 0 {
		b.WriteString(" {" + eol)
		for _, line := range s.lines() {
			b.WriteString(indent + step + line + eol)
		}
		b.WriteString(indent + "}")
	}
	b.WriteString(eol)
	return b.String()
}

// lines returns the lines of the stanza's block.
func (s Stanza) lines() (lines []string) {
	for _, option := range s.Options {
		lines = append(lines, strings.Join(option, " "))
	}
	return lines
}

// check returns an error if the text of s would not be the stanza that it is meant to be.
func (s Stanza) check() error {
	for _, word := range slices.Concat(s.Options...) {
		if err := words.Check(word); err != nil {
			return fmt.Errorf("%q in the nodelocal stanza: %w", word, err)
		}
	}
	if err := checkAddrs(s.Addresses); err != nil {
		return fmt.Errorf("nodelocal stanza: %w", err)
	}
	return nil
}

// stanza returns the edit that puts s first in the first server block, or the line of the nodelocal stanza that
// text has already.
func (l layout) stanza(text []byte, s Stanza) (e edit, line int) {
	for _, b := range l.servers {
		if line := l.find("nodelocal", b, map[string]bool{}); line > 0 {
			return edit{}, line
		}
	}
	b := l.servers[0]
	at, before := l.bodyStart(text, b)
	indent, step := l.indent(text, b)
	return edit{at, at, before + s.format(indent, step, eol(text))}, 0
}

// packetCache returns the edits that put packetcache first in the server blocks that have none and speak plain DNS.
func (l layout) packetCache(text []byte, p Params) (edits []edit) {
	for _, b := range l.servers {
		plain := slices.ContainsFunc(b.keys, func(key token) bool { _, _, ok := zone(key.text, p.port()); return ok })
		if plain && l.find("packetcache", b, map[string]bool{}) == 0 {
			at, before := l.bodyStart(text, b)
			indent, _ := l.indent(text, b)
			edits = append(edits, edit{at, at, before + indent + "packetcache" + eol(text)})
		}
	}
	return edits
}

// find returns the line of the named directive in b or in a snippet that b imports, 0 if there is none.
func (l layout) find(name string, b block, seen map[string]bool) int {
	for _, d := range b.directives {
		switch t := l.tokens[d.first]; t.text {
		case name:
			return t.line
		case "import":
			imported := l.tokens[d.first+1].text
			snippet, ok := l.snippets[imported]
			if !ok || seen[imported] {
				continue
			}
			seen[imported] = true
			if line := l.find(name, snippet, seen); line > 0 {
				return line
			}
		}
	}
	return 0
}

// bodyStart returns where the first line of b's body begins, and a line end if one has to be put in there.
func (l layout) bodyStart(text []byte, b block) (at int, before string) {
	end, next := l.tokens[b.head].end, len(text)
	if b.head+1 < len(l.tokens) {
		next = l.tokens[b.head+1].start
	}
	if i := bytes.IndexByte(text[end:next], '\n'); i >= 0 {
		return end + i + 1, ""
	}
	return next, eol(text) // not at end: a comment there would swallow the rest of the line
}

// indent returns the indentation of b's first directive, and how much deeper that is than b's keys.
func (l layout) indent(text []byte, b block) (indent, step string) {
	const standard = "    "
	if len(b.directives) == 0 {
		return standard, standard
	}
	indent, ok := margin(text, l.tokens[b.directives[0].first].start)
	if !ok {
		return standard, standard
	}
	outer, _ := margin(text, l.tokens[b.first].start)
	if step, ok = strings.CutPrefix(indent, outer); !ok || step == "" {
		step = standard
	}
	return indent, step
}

// margin returns what stands before pos on its line, if that is nothing but blanks and tabs.
func margin(text []byte, pos int) (string, bool) {
	line := text[bytes.LastIndexByte(text[:pos], '\n')+1 : pos]
	return string(line), len(bytes.Trim(line, " \t")) == 0
}

// eol returns the line end that text uses.
func eol(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// named returns the directives called name of all server blocks and snippets.
func (l layout) named(name string) (list []directive) {
	for _, b := range slices.AppendSeq(slices.Clone(l.servers), maps.Values(l.snippets)) {
		for _, d := range b.directives {
			if l.tokens[d.first].text == name {
				list = append(list, d)
			}
		}
	}
	return list
}

// bindLink returns the edits that replace the link's name behind bind with the cache's addresses. The plugin bind looks for the
// link before the plugin nodelocal makes it; k8s-dns-node-cache makes its link before it reads the Corefile. An address that
// bind already names is left out: bind would serve it twice.
func (l layout) bindLink(p Params) (edits []edit) {
	for _, d := range l.named("bind") {
		tokens := l.tokens[d.first+1 : d.end]
		addrs := slices.DeleteFunc(slices.Clone(p.LocalIPs), func(a netip.Addr) bool {
			return slices.ContainsFunc(tokens, func(t token) bool { return t.text == a.String() })
		})
		for _, t := range tokens {
			if p.Link != "" && t.text == p.Link {
				edits = append(edits, edit{t.start, t.end, words.Join(addrs)})
			}
		}
	}
	return edits
}

// preferUDP returns the edits that remove force_tcp from each forward directive with one of the spans among its arguments. A
// template may force TCP for the node's nameservers. The nameservers of the kube-dns ConfigMap are asked as kube-dns asks them,
// over UDP first: some of them, or a firewall on the way, do not support TCP.
func (l layout) preferUDP(text []byte, spans []span) (edits []edit) {
	for _, d := range l.named("forward") {
		if l.forwardsTo(d, spans) {
			edits = append(edits, l.withoutTCP(text, d)...)
		}
	}
	return edits
}

// args returns the index of the token behind the arguments of d: the opening brace, or the first token of the next line.
func (l layout) args(d directive) int {
	i := d.first + 1
	for i < d.end && l.tokens[i].text != "{" && !l.newLine(i) {
		i++
	}
	return i
}

func (l layout) forwardsTo(d directive, spans []span) bool {
	return slices.ContainsFunc(l.tokens[d.first:l.args(d)], func(t token) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.start < t.end && t.start < s.end })
	})
}

// withoutTCP returns the edits that remove the option force_tcp from d. A force_tcp with an argument stays: the plugin forward
// reports that mistake.
func (l layout) withoutTCP(text []byte, d directive) []edit {
	var edits []edit
	depth := 0
	for i := l.args(d); i < d.end; i++ {
		switch t := l.tokens[i]; {
		case t.text == "{":
			depth++
		case t.text == "}":
			depth--
		case t.text != "force_tcp" || depth != 1 || !l.newLine(i+1):
		case l.newLine(i), l.tokens[i-1].text == "{":
			edits = append(edits, l.cut(text, i))
		}
	}
	return edits
}

// cut returns the edit that removes token i. If the token is alone on its line, the edit removes the line, otherwise the token
// and the white space before it.
func (l layout) cut(text []byte, i int) edit {
	t := l.tokens[i]
	if !l.newLine(i) {
		start := len(bytes.TrimRightFunc(text[:t.start], unicode.IsSpace))
		return edit{start: start, end: t.end}
	}
	start := bytes.LastIndexByte(text[:t.start], '\n') + 1
	end := t.end + bytes.IndexByte(text[t.end:], '\n') + 1
	return edit{start: start, end: end}
}
