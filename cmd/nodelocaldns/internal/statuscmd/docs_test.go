// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"os"
	"strings"
	"testing"
)

// TestExampleOfTheDocs has the example of docs/operations.md be what the command prints.
func TestExampleOfTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/deaf.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll("\n"+strings.TrimSpace(string(want)), "\n", "\n    ")
	if text = strings.ReplaceAll(text, "\n    \n", "\n\n"); !strings.Contains(string(docs), text+"\n") {
		t.Errorf("docs/operations.md has not:\n%s", text)
	}
}
