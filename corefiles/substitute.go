// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// substitution is a template whose variables have been replaced.
type substitution struct {
	edits    []edit
	text     []byte
	warnings []string
	upstream []span // places in text of the values of upstreamServers, outside comments
}

// span is a range of bytes, half open.
type span struct{ start, end int }

// substitute replaces the variables of t. A variable without a value stays in a comment: the manifest of k8s-dns-node-cache
// explains its variables in comments.
func substitute(t Template, values map[string]value) (substitution, error) {
	var s substitution
	tokens, err := scan(t.Text)
	if err != nil {
		return s, fmt.Errorf("%s:%w", t.Path, err)
	}
	used := map[string]bool{}
	next, shift := 0, 0
	for _, m := range words.Variable.FindAllIndex(t.Text, -1) {
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
		return strings.Trim(v.host, "[]") // Kubernetes' documentation writes the brackets around the variable of an IPv6 address
	}
	return v.text
}

// glued reports whether pos is in a comment that begins within a token. Such a comment ends with the next white space, so the
// second word of a value would not be in the comment.
func glued(text []byte, before []token, pos int) bool {
	if len(before) == 0 || before[len(before)-1].quoted {
		return false
	}
	between := text[before[len(before)-1].end:pos]
	return !bytes.ContainsFunc(between, func(r rune) bool { return unicode.IsSpace(r) && r != '\r' })
}

// leftover returns an error if a token holds a variable. A carriage return in a name hides the variable from substitute.
func leftover(path string, text []byte) error {
	tokens, err := scan(text)
	if err != nil {
		return fmt.Errorf("%s:%w", path, err)
	}
	for _, t := range tokens {
		if name := words.Variable.FindString(t.text); name != "" {
			return fmt.Errorf("%s:%d: %s is left after the variables were replaced", path, t.line, name)
		}
	}
	return nil
}

func lineAt(text []byte, pos int) int { return 1 + bytes.Count(text[:pos], []byte("\n")) }
