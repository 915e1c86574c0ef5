// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"unicode"

	"github.com/nodelocaldns/nodelocaldns/corefiles/words"
)

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
