// SPDX-License-Identifier: Apache-2.0

package busiest

import "math/rand/v2"

const (
	sets = 64
	ways = 8 // keys of a set: their hashes are one line of the CPU's cache
)

// A table counts the keys that come most often, at most sets*ways of them. It is the d-way RAP of Ben-Basat et al. (Randomized
// admission policy for efficient top-k and frequency estimation, INFOCOM 2017). A key belongs to one set. In a set that is full, a
// new key takes the place of the key with the smallest count, by a chance of one in that count. So keys that come once, as in a
// flood of random names, seldom push out a key that comes often.
//
// A key is a hash with a secret seed, so that nobody can choose keys of one set. A new key begins with the count of the key whose
// place it takes, since the chance for the next new key depends on that count. A report leaves that beginning out.
type table[T any] struct {
	sets   [sets]set
	values [sets * ways]T // of the keys
}

type set struct {
	keys   [ways]uint64
	counts [ways]uint32 // 0: the place is free; a period is too short for more than 2^32
	before [ways]uint32 // the part of counts that belongs to earlier keys of the place
}

// add counts weight for key, and returns the key's value; nil if the key was not let in. fresh says that the value is that of an
// earlier key.
func (t *table[T]) add(key uint64, weight uint32) (value *T, fresh bool) {
	s := &t.sets[key%sets]
	least := 0
	for i := range ways {
		if s.keys[i] == key && s.counts[i] > 0 {
			s.counts[i] += weight
			return t.value(key, i), false
		}
		if s.counts[i] < s.counts[least] {
			least = i
		}
	}
	n := s.counts[least]
	if n > 0 && rand.Uint32N(n+weight) >= weight {
		return nil, false
	}
	s.keys[least], s.counts[least], s.before[least] = key, n+weight, n
	return t.value(key, least), true
}

// find returns the value of key; nil if the table does not count the key.
func (t *table[T]) find(key uint64) *T {
	s := &t.sets[key%sets]
	for i := range ways {
		if s.keys[i] == key && s.counts[i] > 0 {
			return t.value(key, i)
		}
	}
	return nil
}

func (t *table[T]) value(key uint64, i int) *T { return &t.values[key%sets*ways+uint64(i)] }

// each calls f with each key, what was counted for it, and its value.
func (t *table[T]) each(f func(key, count uint64, value *T)) {
	for i := range t.sets {
		s := &t.sets[i]
		for j, n := range s.counts {
			if n > 0 {
				f(s.keys[j], uint64(n-s.before[j]), &t.values[i*ways+j])
			}
		}
	}
}

// reset empties the table.
func (t *table[T]) reset() { clear(t.sets[:]) }
