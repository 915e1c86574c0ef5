// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a token of caddyfile's lexer with its place in the text.
type token struct {
	text       string
	line       int
	start, end int // offsets in the text, in bytes, with the quotes
	quoted     bool
}

// endLine returns the last line of t as caddyfile computes it: by the line feeds in the text of t.
func (t token) endLine() int { return t.line + strings.Count(t.text, "\n") }

// scanner works as the lexer of github.com/coredns/caddy/caddyfile, which returns lines but no offsets. scanner also has the faults
// of the lexer, because both must see the same blocks. A carriage return within a token is dropped. A comment may begin within a
// token, and ends at the next white space then.
type scanner struct {
	text []byte
	pos  int
	line int
}

// scan returns the tokens of text. A quoted string without an end is an error of the form "LINE: cause". The lexer accepts it, and
// takes the rest of the file as its content.
func scan(text []byte) ([]token, error) {
	s := scanner{text: text, line: 1}
	if r, n := utf8.DecodeRune(text); r == '\uFEFF' {
		s.pos = n
	}
	var tokens []token
	for {
		t, err := s.next()
		if err == io.EOF {
			return tokens, nil
		} else if err != nil {
			return tokens, err
		}
		tokens = append(tokens, t)
	}
}

// next returns the next token. The error is io.EOF without one, or that of scan.
func (s *scanner) next() (t token, err error) {
	var val []rune
	for comment := false; s.pos < len(s.text); {
		start := s.pos
		switch ch := s.rune(); {
		case ch == '\r':
		case unicode.IsSpace(ch):
			if ch == '\n' {
				s.line++
				comment = false
			}
			if len(val) > 0 {
				t.text = string(val)
				return t, nil
			}
		case ch == '#' || comment:
			comment = true
		case ch == '"' && len(val) == 0:
			return s.quoted(token{line: s.line, start: start, quoted: true})
		default:
			if len(val) == 0 {
				t = token{line: s.line, start: start}
			}
			val = append(val, ch)
			t.end = s.pos
		}
	}
	if len(val) == 0 {
		return token{}, io.EOF
	}
	t.text = string(val)
	return t, nil
}

// quoted reads the rest of a quoted token. A backslash before a quote is removed; other backslashes stay.
func (s *scanner) quoted(t token) (token, error) {
	var val []rune
	for escaped := false; s.pos < len(s.text); {
		ch := s.rune()
		if !escaped && ch == '\\' {
			escaped = true
			continue
		}
		if !escaped && ch == '"' {
			t.text, t.end = string(val), s.pos
			return t, nil
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
	return t, fmt.Errorf("%d: quoted string is never closed", t.line)
}

func (s *scanner) rune() rune {
	r, n := utf8.DecodeRune(s.text[s.pos:])
	s.pos += n
	return r
}
