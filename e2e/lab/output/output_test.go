// SPDX-License-Identifier: Apache-2.0

package output

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInsert(t *testing.T) {
	for name, c := range map[string]struct{ document, want string }{
		"in the place of what is there": {"a\n<!-- b -->\nold\n<!-- e -->\nz\n", "a\n<!-- b -->\n\nnew\n\n<!-- e -->\nz\n"},
		"no beginning":                  {"a\n<!-- e -->\n", ""},
		"no end":                        {"a\n<!-- b -->\n", ""},
		"the end first":                 {"<!-- e -->\n<!-- b -->\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "document.md")
			if err := os.WriteFile(path, []byte(c.document), 0o644); err != nil {
				t.Fatal(err)
			}
			err := Insert(path, "<!-- b -->\n", "<!-- e -->\n", "new\n")
			want := c.want
			if want == "" {
				want = c.document
			}
			if got, _ := os.ReadFile(path); string(got) != want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestWriteRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, []int{1, 2}, map[string]string{"results.md": "text"}); err != nil {
		t.Fatal(err)
	}
	var got []int
	if err := Read(filepath.Join(dir, "results.json"), &got); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if err := Read(filepath.Join(dir, "results.md"), &got); err == nil || !strings.Contains(err.Error(), "results.md") {
		t.Errorf("no JSON: %v", err)
	}
}
