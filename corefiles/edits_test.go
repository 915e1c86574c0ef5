// SPDX-License-Identifier: Apache-2.0

package corefiles

import "testing"

func TestApply(t *testing.T) {
	for _, test := range []struct {
		edits []edit
		want  string
	}{
		{nil, "abcdef"},
		{[]edit{{0, 0, "x"}, {6, 6, "y"}}, "xabcdefy"},
		{[]edit{{0, 2, ""}, {2, 3, "xyz"}, {3, 3, "-"}}, "xyz-def"},
		{[]edit{{0, 6, ""}}, ""},
	} {
		text := []byte("abcdef")
		if got := string(apply(text, test.edits)); got != test.want || string(text) != "abcdef" {
			t.Errorf("%v: got %s of %s, want %s", test.edits, got, text, test.want)
		}
	}
}
