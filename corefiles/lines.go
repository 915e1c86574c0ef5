// SPDX-License-Identifier: Apache-2.0

package corefiles

import "unicode"

// lines returns Result.Lines, for the template's text.
func (r rendering) lines(template []byte) (lines []int) {
	of := make([]int, len(template)) // the line of each byte
	for i, line := 0, 1; i < len(template); i++ {
		of[i] = line
		if template[i] == '\n' {
			line++
		}
	}
	of = follow(of, r.substitution.edits)
	text, of := apply(r.text, r.edits), follow(of, r.edits)
	origin := 0
	for i, b := range text {
		if origin == 0 && !unicode.IsSpace(rune(b)) {
			origin = of[i]
		}
		if b == '\n' {
			lines, origin = append(lines, origin), 0
		}
	}
	return append(lines, origin)
}

// follow returns of for each byte of the text after the edits. What an edit puts in without taking something out is of no line: 0.
func follow(of []int, edits []edit) (after []int) {
	pos := 0
	for _, e := range edits {
		after = append(after, of[pos:e.start]...)
		origin := 0
		if e.end > e.start {
			origin = of[e.start]
		}
		for range len(e.text) {
			after = append(after, origin)
		}
		pos = e.end
	}
	return append(after, of[pos:]...)
}
