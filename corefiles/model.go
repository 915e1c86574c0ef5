// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// model is the part of the template that the server blocks of stub domains copy. Imports and environment variables are expanded.
type model struct {
	blocks  []caddyfile.ServerBlock
	bind    []string // bind directives; empty: listen at all addresses
	forward []string // lines with options of forward
}

// times are the options of forward that bound the time of a question. Without them forward's defaults hold.
var times = []string{"read_timeout", "max_connect_attempts"}

// model returns the model of text, a Corefile without stub domains.
//
// The socket of a block that is bound to an address is more specific than the socket of a block that is bound to all addresses.
// The first block would take all queries to the address from the second. So the blocks of stub domains have the bind directives
// of the root block, or without a root block those of the block with the nodelocal stanza: DNS is steered to its addresses.
func (p Params) model(text []byte) (model, error) {
	blocks, err := caddyfile.Parse(p.Path, bytes.NewReader(text), nil)
	if err != nil {
		return model{}, Plain(err)
	}
	m := model{blocks: blocks}
	root := slices.DeleteFunc(slices.Clone(blocks), func(b caddyfile.ServerBlock) bool {
		return !slices.ContainsFunc(b.Keys, func(key string) bool { return isZone(key, ".", p.port()) })
	})
	for _, b := range root {
		m.forward = append(m.forward, forwardTimes(b.Tokens["forward"])...)
	}
	if len(root) == 0 {
		root = slices.DeleteFunc(slices.Clone(blocks), func(b caddyfile.ServerBlock) bool { return len(b.Tokens["nodelocal"]) == 0 })
	}
	for _, b := range root { // with views there are several root blocks
		for _, d := range directivesOf(b.Tokens["bind"]) {
			text, err := linesOf(d)
			if err != nil {
				return model{}, err
			}
			if !slices.Contains(m.bind, text) { // bind would serve an address twice that is named twice
				m.bind = append(m.bind, text)
			}
		}
	}
	return m, nil
}

// Has reports whether one of the server blocks has the directive.
func Has(blocks []caddyfile.ServerBlock, directive string) bool {
	return slices.ContainsFunc(blocks, func(b caddyfile.ServerBlock) bool { return len(b.Tokens[directive]) > 0 })
}

// directivesOf splits the tokens that caddyfile has collected for one name into directives.
func directivesOf(tokens []caddyfile.Token) (list [][]caddyfile.Token) {
	depth := 0
	for i, t := range tokens {
		switch t.Text {
		case "{":
			depth++
		case "}":
			depth--
		case tokens[0].Text:
			if depth == 0 && isFirst(tokens, i) {
				list = append(list, nil)
			}
		}
		list[len(list)-1] = append(list[len(list)-1], t)
	}
	return list
}

// isFirst reports whether token i is the first of its line.
func isFirst(tokens []caddyfile.Token, i int) bool {
	return i == 0 || tokens[i-1].File != tokens[i].File || tokens[i-1].Line != tokens[i].Line
}

// linesOf returns the text of a directive of a server block, with its options.
func linesOf(d []caddyfile.Token) (string, error) {
	var b strings.Builder
	depth := 0
	for i, t := range d {
		if err := words.Check(strings.Trim(t.Text, "{}")); err != nil || t.Text == "" {
			return "", fmt.Errorf("%s %q: not a word that can be said again for stub domains", d[0].Text, t.Text)
		}
		if t.Text == "}" {
			depth--
		}
		if isFirst(d, i) || t.Text == "}" || d[i-1].Text == "{" {
			b.WriteString(strings.Repeat("\n", min(i, 1)) + strings.Repeat("    ", depth+1) + t.Text)
		} else {
			b.WriteString(" " + t.Text)
		}
		if t.Text == "{" {
			depth++
		}
	}
	if depth != 0 {
		return "", fmt.Errorf("%s: a brace is not closed", d[0].Text)
	}
	return b.String(), nil
}

// forwardTimes returns the lines with options in times of the first forward directive for the root.
func forwardTimes(tokens []caddyfile.Token) (lines []string) {
	for _, d := range directivesOf(tokens) {
		if len(d) < 2 || d[1].Text != "." {
			continue
		}
		for i, t := range d[:len(d)-1] {
			value := d[i+1].Text
			if slices.Contains(times, t.Text) && (isFirst(d, i) || d[i-1].Text == "{") && !isFirst(d, i+1) && words.Check(value) == nil {
				lines = append(lines, "        "+t.Text+" "+value)
			}
		}
		return lines
	}
	return nil
}

// parseError matches the beginning of caddy's message about an error in a Corefile.
var parseError = regexp.MustCompile(`(:\d+) - (?:Error during parsing|Syntax error): `)

// Plain shortens an error of caddy to the form FILE:LINE: cause.
func Plain(err error) error {
	return errors.New(parseError.ReplaceAllString(err.Error(), "$1: "))
}
