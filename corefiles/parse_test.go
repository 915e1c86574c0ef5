// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"fmt"
	"strings"
	"testing"
)

// outline prints a layout: "KEY KEY: directive(tokens) …" for each server block, in the order of the file.
func outline(l layout) string {
	var out []string
	for _, b := range l.servers {
		var words []string
		for _, key := range b.keys {
			words = append(words, key.text)
		}
		words = append(words, ":")
		for _, d := range b.directives {
			words = append(words, fmt.Sprintf("%s(%d)", l.tokens[d.first].text, d.end-d.first))
		}
		out = append(out, strings.Join(words, " "))
	}
	return strings.Join(out, "; ")
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{".:53", ".:53 :"},
		{". { }", ". :"},
		{".:53 {\n}", ".:53 :"},
		{".:53\n{\nerrors\n}", ".:53 : errors(1)"},
		{".:53\nerrors\nforward . a {\nb\n}\nlog", ".:53 : errors(1) forward(6) log(1)"},
		{". { errors\nlog\n}", ". : errors(1) log(1)"},
		{"a.example,\n b.example {\nerrors\n}", "a.example b.example : errors(1)"},
		{"a.example, b.example c.example {\nerrors\n} d {\n}", "a.example b.example c.example : errors(1); d :"},
		{"a {\nforward . x {\n a {\n b\n }\n}\nlog a \"b\nc\" d\n}", "a : forward(9) log(4)"},
		{"a {\nlog\n{\nclass all\n}\n}", "a : log(5)"},
		{"# a {\na { # {\n\"nodelocal\" # }\n}", "a : nodelocal(1)"},
		{"import x\na {\nimport y\nforward . z {\nimport w\n}\n}\nimport v", "a : import(2) forward(7)"},
		{"(s) {\nlog\n}\na {\nimport s\n}", "a : import(2)"},
		{"(s) { forward . x { force_tcp } }\na {\n}", "a :"},
		{"(s)\n{\nlog\n}\n(t) (u) {\n}", "(t) (u) :"},
		{"(s) {\na\n}\nimport s\n{\nlog\n}", ": log(1)"},
		{"{$A}:{%B%} {\nlog {$C}\n}", "{$A}:{%B%} : log(2)"},
		{"a {\r\nlog\r\n}\r\n", "a : log(1)"},
		{"\"\" a {\n}", "a :"},
	} {
		l, err := parse("f", []byte(test.text))
		if err != nil || outline(l) != test.want {
			t.Errorf("%q:\n got %s, %v\nwant %s", test.text, outline(l), err, test.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const (
		none      = "f: no server block in it, such as .:53 { … }"
		unclosed  = "opening brace is never closed"
		unopened  = "closing brace without an opening one"
		badImport = "import takes one argument, the name of a snippet or file"
	)
	for _, test := range []struct{ text, want string }{
		{"", none},
		{"# .:53 {\n# }\n", none},
		{"(s) {\n}\nimport s\n", none},
		{"\"\"", none},
		{".:53 {\nerrors\n", "f:1: " + unclosed},
		{".:53 {\nforward . x {\n}\n", "f:1: " + unclosed},
		{".:53 {\nforward . x {\na {\n}\n", "f:2: " + unclosed},
		{"(s) {\nlog\n", "f:1: " + unclosed},
		{".:53 {\n}\n}\n", "f:3: " + unopened},
		{".:53\nlog\n}\n", "f:3: " + unopened},
		{".:53 {\nlog }\n", "f:2: closing brace on the line of directive log: it belongs on a line of its own"},
		{"\n{\n}\n", "f:2: opening brace without the name of a server before it"},
		{"\"\"\nlog\n", "f:1: server block with an empty name"},
		{"a {\n{\n}\n}\n", "f:2: opening brace without a directive before it"},
		{"a, {\n}\n", "f:1: opening brace after a comma"},
		{"a {\n}\nb,\n", "f:3: nothing after a comma"},
		{"(s)\nlog\n", "f:2: snippet (s) without an opening brace"},
		{".:53 {\n}\n(s)", "f:3: snippet (s) without an opening brace"},
		{"import\na {\n}\n", "f:1: " + badImport},
		{"import b c\na {\n}\n", "f:1: " + badImport},
		{"a {\nimport\n}\n", "f:2: " + badImport},
		{"a {\nlog {\nimport b {\n}\n}\n", "f:3: " + badImport},
		{"a {\nlog \"b\n}\n", "f:2: quoted string is never closed"},
	} {
		l, err := parse("f", []byte(test.text))
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: got %s, error %v; want %s", test.text, outline(l), err, test.want)
		}
	}
}
