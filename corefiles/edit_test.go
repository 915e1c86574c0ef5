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

func TestInsert(t *testing.T) {
	edits := []edit{{1, 2, "b"}, {4, 5, "d"}}
	for _, test := range []struct {
		e    edit
		want string
	}{
		{edit{0, 0, "a"}, "abd"},
		{edit{3, 3, "c"}, "bcd"},
		{edit{9, 9, "e"}, "bde"},
	} {
		got := ""
		for _, e := range insert(edits, test.e) {
			got += e.text
		}
		if got != test.want || len(edits) != 2 || edits[1].text != "d" {
			t.Errorf("got %s of %v, want %s", got, edits, test.want)
		}
	}
}
