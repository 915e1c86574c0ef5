// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/bits"
	"time"
)

// precision is the number of bits that a histogram keeps of a value: an error of 1/128 at most.
const precision = 7

// histogram counts times, those below 128 ns exactly and each power of two above in 128 steps.
type histogram struct {
	counts [(64 - precision + 1) << precision]int
	total  int
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile is the value that the share q of all values does not exceed; 0 if there is none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := min(int(q*float64(h.total)), h.total-1)
	for i, n := range h.counts {
		if rank -= n; rank < 0 && n > 0 {
			return time.Duration(middle(i))
		}
	}
	return 0
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-precision-1, 0)
	return shift<<precision + int(v>>shift)
}

// middle is the value in the middle of a bucket.
func middle(i int) uint64 {
	shift := max(i>>precision-1, 0)
	low := uint64(i-shift<<precision) << shift
	return low + 1<<shift/2
}
