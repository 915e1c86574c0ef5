// SPDX-License-Identifier: Apache-2.0

package corefiles

// edit replaces text[start:end]. Render changes a template by lists of edits in ascending order and without overlaps. Every other
// byte stays.
type edit struct {
	start, end int
	text       string
}

func apply(text []byte, edits []edit) []byte {
	out := make([]byte, 0, len(text)+1024)
	pos := 0
	for _, e := range edits {
		out = append(out, text[pos:e.start]...)
		out = append(out, e.text...)
		pos = e.end
	}
	return append(out, text[pos:]...)
}
