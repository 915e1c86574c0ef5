// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"net/netip"
	"slices"
	"unicode"
)

// edit replaces text[start:end]. All that Render does to a template is a list of edits, in ascending order and
// without overlaps, so that every other byte stays.
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

// bindLink returns the edits that put the cache's addresses in the place of the link's name after bind. The plugin
// bind looks for the link before it is made: k8s-dns-node-cache makes its own before it reads the Corefile.
func (l layout) bindLink(p Params) (edits []edit) {
	blocks := slices.Clone(l.servers)
	for _, b := range l.snippets {
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		for _, d := range b.directives {
			if l.tokens[d.first].text == "bind" {
				edits = append(edits, l.bindLinkIn(d, p)...)
			}
		}
	}
	return edits
}

// bindLinkIn is bindLink for one directive. An address that stands there anyhow is not put in: bind would serve it twice.
func (l layout) bindLinkIn(d directive, p Params) (edits []edit) {
	tokens := l.tokens[d.first+1 : d.end]
	addrs := slices.DeleteFunc(slices.Clone(p.LocalIPs), func(a netip.Addr) bool {
		return slices.ContainsFunc(tokens, func(t token) bool { return t.text == a.String() })
	})
	for _, t := range tokens {
		if p.Link != "" && t.text == p.Link {
			edits = append(edits, edit{t.start, t.end, joinAddrs(addrs)})
		}
	}
	return edits
}

// preferUDP returns the edits that take force_tcp out of each forward stanza which has one of the spans among its
// arguments. A template may force TCP towards the node's nameservers, but the nameservers of the kube-dns
// ConfigMap are asked as kube-dns would ask them: not all of them, nor all firewalls before them, do TCP.
func (l layout) preferUDP(text []byte, spans []span) []edit {
	var edits []edit
	blocks := slices.Clone(l.servers)
	for _, b := range l.snippets {
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		for _, d := range b.directives {
			if l.tokens[d.first].text == "forward" && l.forwardsTo(d, spans) {
				edits = append(edits, l.withoutTCP(text, d)...)
			}
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	return edits
}

// args returns the index of the token behind the arguments of d: its opening brace, or the next line.
func (l layout) args(d directive) int {
	i := d.first + 1
	for i < d.end && l.tokens[i].text != "{" && !l.newLine(i) {
		i++
	}
	return i
}

func (l layout) forwardsTo(d directive, spans []span) bool {
	for _, t := range l.tokens[d.first:l.args(d)] {
		for _, s := range spans {
			if s.start < t.end && t.start < s.end {
				return true
			}
		}
	}
	return false
}

// withoutTCP returns the edits that remove force_tcp where it is a property of d. One with an argument is a
// mistake, which is left for forward to complain of.
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

// cut returns the edit that removes token i: with its line if it is alone there, else with the white space before.
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
