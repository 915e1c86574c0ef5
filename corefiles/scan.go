// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a token of a Corefile as caddyfile's lexer sees it, and where it stands in the text.
type token struct {
	text       string
	line       int
	start, end int // bytes in the text, with the quotes
	quoted     bool
}

// endLine is the line on which t ends, as far as caddyfile knows: it counts the line feeds in the text.
func (t token) endLine() int { return t.line + strings.Count(t.text, "\n") }

// scanner mirrors the lexer of github.com/coredns/caddy/caddyfile, which tells lines but not offsets. What it
// does is copied in its oddities too, because a scanner that is right where the lexer is not sees other blocks:
// a carriage return is dropped even within a token, and a comment may begin in the middle of a token, but then it
// ends with the next white space.
type scanner struct {
	text []byte
	pos  int
	line int
}

// scan returns the tokens of text. A quoted string that is never closed is an error of the form "LINE: cause";
// the lexer lets it pass and takes the rest of the file for its content.
func scan(text []byte) ([]token, error) {
	s := scanner{text: text, line: 1}
	if r, n := utf8.DecodeRune(text); r == '\uFEFF' {
		s.pos = n
	}
	var tokens []token
	for {
		t, ok, open := s.next()
		if open {
			return tokens, fmt.Errorf("%d: quoted string is never closed", t.line)
		}
		if !ok {
			return tokens, nil
		}
		tokens = append(tokens, t)
	}
}

// next returns the next token. The third result says that the text ends within quotes.
func (s *scanner) next() (t token, ok, open bool) {
	var val []rune
	comment := false
	done := func() (token, bool, bool) {
		t.text = string(val)
		return t, true, false
	}
	for s.pos < len(s.text) {
		start := s.pos
		ch := s.rune()
		if unicode.IsSpace(ch) {
			if ch == '\r' {
				continue
			}
			if ch == '\n' {
				s.line++
				comment = false
			}
			if len(val) > 0 {
				return done()
			}
			continue
		}
		if ch == '#' {
			comment = true
		}
		if comment {
			continue
		}
		if len(val) == 0 {
			t = token{line: s.line, start: start}
			if ch == '"' {
				return s.quoted(t)
			}
		}
		val = append(val, ch)
		t.end = s.pos
	}
	if len(val) > 0 {
		return done()
	}
	return token{}, false, false
}

// quoted reads the rest of a quoted token. A backslash stays unless it stands before a quote.
func (s *scanner) quoted(t token) (token, bool, bool) {
	var val []rune
	escaped := false
	t.quoted = true
	for s.pos < len(s.text) {
		ch := s.rune()
		if !escaped && ch == '\\' {
			escaped = true
			continue
		}
		if !escaped && ch == '"' {
			t.text, t.end = string(val), s.pos
			return t, true, false
		}
		if ch == '\n' {
			s.line++
		}
		if escaped && ch != '"' {
			val = append(val, '\\')
		}
		val = append(val, ch)
		escaped = false
	}
	return t, false, true
}

func (s *scanner) rune() rune {
	r, n := utf8.DecodeRune(s.text[s.pos:])
	s.pos += n
	return r
}
