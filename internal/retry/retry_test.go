// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestUntil(t *testing.T) {
	for _, test := range []struct {
		name                    string
		patience, takes, waited time.Duration
		succeedsAt, calls       int
	}{
		{name: "at once", patience: time.Second, succeedsAt: 1, calls: 1},
		{name: "one look", succeedsAt: 9, calls: 1},
		{name: "third", patience: time.Second, succeedsAt: 3, calls: 3, waited: 200 * time.Millisecond},
		{name: "never", patience: 250 * time.Millisecond, succeedsAt: 99, calls: 4, waited: 300 * time.Millisecond},
		{name: "a slow attempt", patience: time.Second, takes: 2 * time.Second, succeedsAt: 2, calls: 1, waited: 2 * time.Second},
		{name: "a late success", patience: time.Second, takes: 2 * time.Second, succeedsAt: 1, calls: 1, waited: 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin, calls := time.Now(), 0
			ok := Until(test.patience, 100*time.Millisecond, func() bool {
				calls++
				time.Sleep(test.takes)
				return calls == test.succeedsAt
			})
			if waited := time.Since(begin); ok != (test.calls == test.succeedsAt) || calls != test.calls || waited != test.waited {
				t.Errorf("%s: %t after %d calls and %s", test.name, ok, calls, waited)
			}
		})
	}
}
