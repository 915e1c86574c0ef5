// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"fmt"
	"strings"
)

// layout is the structure of a Corefile, as far as Render needs it.
type layout struct {
	tokens   []token
	servers  []block
	snippets map[string]block
}

// block is a server block or a snippet.
type block struct {
	keys       []token // without the commas between them
	first      int     // index of the first token
	head       int     // index of the token before the body: the opening brace, or the last key
	braces     bool    // false for the form "KEY, line feed, directives up to the end of the file"
	directives []directive
}

// directive is a range of tokens, half open: the name, the arguments, and the block if it has one. An import
// counts as a directive.
type directive struct{ first, end int }

// parser works as the parser of caddyfile does, but does not follow imports and is stricter with braces. caddyfile reads an
// additional closing brace as the name of a server, and accepts a missing one after a directive with a block.
type parser struct {
	layout
	path string
	pos  int // index of the current token
}

// parse returns the layout of text; errors name path and the line.
func parse(path string, text []byte) (layout, error) {
	tokens, err := scan(text)
	if err != nil {
		return layout{}, fmt.Errorf("%s:%w", path, err)
	}
	p := parser{path: path, layout: layout{tokens: tokens, snippets: map[string]block{}}}
	for p.more() {
		if err := p.block(); err != nil {
			return layout{}, err
		}
	}
	if len(p.servers) == 0 {
		return layout{}, fmt.Errorf("%s: no server block in it, such as .:53 { … }", path)
	}
	return p.layout, nil
}

func (p *parser) more() bool { return p.pos < len(p.tokens) }

// newLine reports whether token i and the token before it are on different lines.
func (l layout) newLine(i int) bool {
	return i == 0 || l.tokens[i-1].endLine() < l.tokens[i].line
}

// sameLine reports whether token i exists and is on the line of the token before it.
func (l layout) sameLine(i int) bool {
	return i < len(l.tokens) && l.tokens[i-1].endLine() == l.tokens[i].line
}

// errorf returns an error with the line of token i, or of the last token if there is no token i.
func (p *parser) errorf(i int, format string, args ...any) error {
	i = min(i, len(p.tokens)-1)
	return fmt.Errorf("%s:%d: %s", p.path, p.tokens[i].line, fmt.Sprintf(format, args...))
}

func (p *parser) block() error {
	b := block{first: p.pos}
	imported, err := p.keys(&b)
	switch {
	case err != nil:
		return err
	case len(b.keys) == 0 && !p.more(): // only imports, or empty strings
		return nil
	case len(b.keys) == 0 && !imported:
		return p.errorf(p.pos, "opening brace without the name of a server before it")
	}
	b.braces = p.more() && p.tokens[p.pos].text == "{"
	name, snippet := b.snippet()
	if snippet && !b.braces {
		return p.errorf(p.pos, "snippet %s without an opening brace", b.keys[0].text)
	}
	if b.braces {
		p.pos++
	}
	b.head = p.pos - 1
	if err := p.body(&b); err != nil {
		return err
	}
	if snippet {
		p.snippets[name] = b
	} else {
		p.servers = append(p.servers, b)
	}
	return nil
}

// keys reads the keys of a block, and stops at the opening brace or at the first line of a body without braces. It reports
// whether there is an import, which may stand for keys.
func (p *parser) keys(b *block) (imported bool, err error) {
	another := false // a comma follows the last key, so the next line may have a key
	for p.more() {
		t := p.tokens[p.pos]
		switch {
		case t.text == "import" && p.newLine(p.pos):
			if err := p.skipImport(); err != nil {
				return false, err
			}
			imported = true
			continue
		case t.text == "{" && another:
			return false, p.errorf(p.pos, "opening brace after a comma")
		case t.text == "{":
			return imported, nil
		case t.text == "}":
			return false, p.errorf(p.pos, "closing brace without an opening one")
		case t.text != "":
			t.text, another = strings.CutSuffix(t.text, ",")
			b.keys = append(b.keys, t)
		}
		p.pos++
		if p.more() && !another && p.newLine(p.pos) {
			if len(b.keys) == 0 && !imported {
				return false, p.errorf(p.pos-1, "server block with an empty name")
			}
			return imported, nil
		}
	}
	if another {
		return false, p.errorf(p.pos, "nothing after a comma")
	}
	return imported, nil
}

// snippet returns the name of b if it is a snippet: a single key in parentheses.
func (b block) snippet() (string, bool) {
	if len(b.keys) != 1 {
		return "", false
	}
	name, opened := strings.CutPrefix(b.keys[0].text, "(")
	name, closed := strings.CutSuffix(name, ")")
	return name, opened && closed
}

// body reads the directives of b and its closing brace.
func (p *parser) body(b *block) error {
	_, snippet := b.snippet()
	for p.more() {
		first := p.pos
		switch t := p.tokens[p.pos]; t.text {
		case "}":
			p.pos++
			if !b.braces {
				return p.errorf(first, "closing brace without an opening one")
			}
			return nil
		case "{":
			return p.errorf(first, "opening brace without a directive before it")
		case "import":
			if err := p.skipImport(); err != nil {
				return err
			}
		default:
			if err := p.directive(snippet); err != nil {
				return err
			}
		}
		b.directives = append(b.directives, directive{first, p.pos})
	}
	if b.braces {
		return p.errorf(b.head, "opening brace is never closed")
	}
	return nil
}

// directive skips one directive with its block. The closing brace of a snippet may be on the line of the directive. The closing
// brace of a server block must not be there.
func (p *parser) directive(inSnippet bool) error {
	var open []int // indexes of the opening braces without a closing one
	for p.pos++; p.more(); p.pos++ {
		switch t := p.tokens[p.pos]; {
		case t.text == "{":
			open = append(open, p.pos)
		case len(open) == 0 && p.newLine(p.pos), len(open) == 0 && t.text == "}" && inSnippet:
			return nil
		case t.text == "}" && len(open) == 0:
			return p.errorf(p.pos, "closing brace on the line of directive %s: it belongs on a line of its own", p.tokens[p.pos-1].text)
		case t.text == "}":
			open = open[:len(open)-1]
		case t.text == "import" && p.newLine(p.pos):
			if err := p.skipImport(); err != nil {
				return err
			}
			p.pos--
		}
	}
	if len(open) > 0 {
		return p.errorf(open[len(open)-1], "opening brace is never closed")
	}
	return nil
}

// skipImport skips an import. An import has exactly one argument.
func (p *parser) skipImport() error {
	if !p.sameLine(p.pos+1) || p.sameLine(p.pos+2) {
		return p.errorf(p.pos, "import takes one argument, the name of a snippet or file")
	}
	p.pos += 2
	return nil
}
