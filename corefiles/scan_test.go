// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/coredns/caddy/caddyfile"
)

// lexed returns text's tokens and their lines as caddyfile sees them.
func lexed(text []byte) []caddyfile.Token {
	var tokens []caddyfile.Token
	for d := caddyfile.NewDispenser("", bytes.NewReader(text)); d.Next(); {
		tokens = append(tokens, caddyfile.Token{Line: d.Line(), Text: d.Val()})
	}
	return tokens
}

// compareTokens fails t unless scan and caddyfile agree on text, and each token covers what it was read from.
func compareTokens(t *testing.T, text []byte) {
	t.Helper()
	tokens, err := scan(text)
	if err != nil {
		return // a quote is open, with which caddyfile agrees only as to the tokens before it
	}
	var got []caddyfile.Token
	covered := [][]byte{nil} // so that no token that begins with a byte order mark is the first thing of all
	end := 0
	for _, tok := range tokens {
		got = append(got, caddyfile.Token{Line: tok.line, Text: tok.text})
		if tok.start < end || tok.end <= tok.start || tok.end > len(text) {
			t.Fatalf("%q: token %q covers [%d:%d] behind %d", text, tok.text, tok.start, tok.end, end)
		}
		covered = append(covered, text[tok.start:tok.end])
		end = tok.end
	}
	if want := lexed(text); !slices.Equal(got, want) {
		t.Errorf("%q: tokens differ:\n got %v\nwant %v", text, got, want)
	}
	if again := lexed(bytes.Join(covered, []byte("\n"))); !sameTexts(got, again) {
		t.Errorf("%q: tokens cover %q", text, covered)
	}
}

// oddities are texts that the lexer reads in an unexpected way.
var oddities = []string{
	"",
	"\ufeff",
	"\ufeff.:53 {\n}\n",
	"a\ufeffb",
	" \ufeff",
	".:53 {\r\n  errors\r\n}\r\n",
	"one\rtoken \r two\r",
	"# comment\na # comment {\nb",
	"a#comment b\nc",
	"a#one#two\"b c\"\nd",
	"\"a\"#all of b\nc",
	"a\r#b c",
	`"" "a b" c"d e" "f\"g" "h\i" "j\\" "k\\\"l"`,
	"\"two\nlines\" b\nc",
	"\"a\"\"b\"c",
	"a\u00a0b\u2028c\u0085d\ve\ff",
	"a\xffb\xc3",
	"{} { } {$A} {%B%} {$",
	"\"{\" \"}\"",
	"a,\n\nb, c,{\n}",
}

func TestScanOddities(t *testing.T) {
	for _, text := range oddities {
		compareTokens(t, []byte(text))
	}
}

func TestScanTemplates(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.corefile")
	own, _ := filepath.Glob("*.corefile")
	if len(paths) == 0 || len(own) == 0 {
		t.Fatal("found no templates")
	}
	for _, path := range append(paths, own...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		compareTokens(t, text)
	}
}

func TestScanOffsets(t *testing.T) {
	text := "\ufeffa \"b\nc\"  d#x e"
	tokens, err := scan([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tok := range tokens {
		got = append(got, text[tok.start:tok.end])
	}
	if want := []string{"a", "\"b\nc\"", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if tok := tokens[1]; !tok.quoted || tok.line != 1 || tok.endLine() != 2 {
		t.Errorf("the quoted token is %+v", tok)
	}
}

func TestScanOpenQuote(t *testing.T) {
	for text, want := range map[string]string{
		"a\n\"b\nc":       "2: quoted string is never closed",
		"\"":              "1: quoted string is never closed",
		"a \"b\" \"c\\\"": "1: quoted string is never closed",
	} {
		_, err := scan([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%q: got error %v, want %s", text, err, want)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range oddities {
		f.Add([]byte(text))
	}
	f.Add(Kubernetes)
	f.Fuzz(func(t *testing.T, text []byte) {
		compareTokens(t, text)
	})
}
