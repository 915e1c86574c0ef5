// SPDX-License-Identifier: Apache-2.0

package corefiles

// edit replaces text[start:end]. All that Render does to a template is a list of edits, in ascending order and
// without overlaps, so that every other byte stays.
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
