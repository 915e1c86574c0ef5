// SPDX-License-Identifier: Apache-2.0

package setups

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// A Fault is what the setup of a plugin refuses.
type Fault struct {
	Directive string
	File      string // the Corefile, or a file that it imports
	Line      int    // of File
	Source    string // the words of that line
	Cause     string // with advice where the plugin has none
	// NotHere says that only the machine that serves can tell: the directive names a file or an interface that is not on this one.
	NotHere bool
}

var (
	// pluginPrefix is how plugin.Error of CoreDNS begins a message.
	pluginPrefix = regexp.MustCompile(`^(?:.*?: )??plugin/\S+: `)
	// placed matches a message that says where it is, as caddy's Errf or as the plugins of this project do.
	placed = regexp.MustCompile(`^(\S+?):(\d+)(?: - (?:Error during parsing|Syntax error))?: `)
)

// locate finds the line of the directive of block i that the setup refused with err. Most plugins do not say it. A setup parses line
// by line. So the line is the one with which the directive, cut off behind it, fails in the same way for the first time.
func (f Corefile) locate(directive string, i int, err error) Fault {
	tokens := f.said[i].Tokens[directive]
	message := pluginPrefix.ReplaceAllString(err.Error(), "")
	fault := Fault{Directive: directive, Cause: advise(message), NotHere: notHere(message)}
	if m := placed.FindStringSubmatch(message); m != nil {
		fault.File = m[1]
		fault.Line, _ = strconv.Atoi(m[2]) // of digits
		fault.Cause = advise(strings.TrimPrefix(message, m[0]))
		fault.Source = source(tokens, f.path, fault.File, fault.Line)
		return fault
	}
	at := f.culprit(directive, i, err)
	fault.File, fault.Line = cmp.Or(at.File, f.path), at.Line
	fault.Source = source(tokens, f.path, fault.File, fault.Line)
	return fault
}

// culprit returns the first token of the line that locate looks for, or that of the last directive, where no part of the block
// alone fails in the same way.
func (f Corefile) culprit(directive string, i int, err error) caddyfile.Token {
	all := split(f.blocks[i].Tokens[directive])
	for _, d := range all {
		for end := 1; end <= len(d); end++ {
			if f.fails(directive, i, slices.Concat(d[:end]...), err) {
				return d[end-1][0]
			}
		}
	}
	return all[len(all)-1][0][0]
}

// fails reports whether the setup refuses the tokens, which may lack their last braces, with err.
func (f Corefile) fails(directive string, i int, tokens []caddyfile.Token, err error) bool {
	tokens = slices.Clip(tokens)
	depth := 0
	for _, t := range tokens {
		depth += brace(t, "{") - brace(t, "}")
	}
	for ; depth > 0; depth-- {
		last := tokens[len(tokens)-1]
		tokens = append(tokens, caddyfile.Token{File: last.File, Line: last.Line + 1, Text: "}"})
	}
	r, runErr := f.run()
	if runErr != nil {
		return false
	}
	got := r.try(directive, i, tokens)
	return got != nil && got.Error() == err.Error()
}

// brace is 1 if t is that brace.
func brace(t caddyfile.Token, text string) int {
	if t.Text == text {
		return 1
	}
	return 0
}

// split returns the directives among the tokens that caddyfile has collected for one name, each by lines.
func split(tokens []caddyfile.Token) (directives [][][]caddyfile.Token) {
	depth := 0
	for i, t := range tokens {
		first := i == 0 || tokens[i-1].File != t.File || tokens[i-1].Line != t.Line
		if first && depth == 0 && t.Text == tokens[0].Text {
			directives = append(directives, nil)
		}
		d := &directives[len(directives)-1]
		if first {
			*d = append(*d, nil)
		}
		line := &(*d)[len(*d)-1]
		*line = append(*line, t)
		depth += brace(t, "{") - brace(t, "}")
	}
	return directives
}

// source returns the words of a line, without the brace that opens a block.
func source(tokens []caddyfile.Token, path, file string, line int) string {
	var words []string
	for _, t := range tokens {
		if cmp.Or(t.File, path) == file && t.Line == line {
			words = append(words, t.Text)
		}
	}
	if n := len(words); n > 1 && words[n-1] == "{" {
		words = words[:n-1]
	}
	return strings.Join(words, " ")
}

// String returns the fault without its place.
func (f Fault) String() string {
	where := f.Directive + ": "
	switch first, _, _ := strings.Cut(f.Source, " "); {
	case first == f.Directive:
		where = f.Source + ": "
	case f.Source != "" && first != "}":
		where += f.Source + ": "
	}
	return where + f.Cause
}
