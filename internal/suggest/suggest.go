// SPDX-License-Identifier: Apache-2.0

// Package suggest finds the word that a mistyped one was meant to be.
package suggest

import "fmt"

// Hint returns the question of format, such as " (did you mean %q?)", about the name that is closest to word; "" without one.
func Hint(format, word string, names []string) string {
	if near := closest(word, names); near != "" {
		return fmt.Sprintf(format, near)
	}
	return ""
}

// closest returns the one of names that word most likely was meant to be, or "" if none is near: at most a third of its
// letters, and two, may differ. A word of one letter has no near one.
func closest(word string, names []string) string {
	best, limit := "", min(2, max(1, len(word)/3), len(word)-1)
	for _, name := range names {
		if d := distance(word, name); d <= limit {
			best, limit = name, d-1
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string
// alignment).
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
