// SPDX-License-Identifier: Apache-2.0

package harness

import "testing"

func TestInsert(t *testing.T) {
	for name, c := range map[string]struct{ document, want string }{
		"in the place of what is there": {"a\n<!-- b -->\nold\n<!-- e -->\nz\n", "a\n<!-- b -->\n\nnew\n\n<!-- e -->\nz\n"},
		"no beginning":                  {"a\n<!-- e -->\n", ""},
		"no end":                        {"a\n<!-- b -->\n", ""},
		"the end first":                 {"<!-- e -->\n<!-- b -->\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Insert(c.document, "<!-- b -->\n", "<!-- e -->\n", "new\n")
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
