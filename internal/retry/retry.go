// SPDX-License-Identifier: Apache-2.0

// Package retry repeats an attempt for a bounded time.
package retry

import "time"

// Until calls attempt until it returns true or patience is over, and sleeps for interval between two calls. It reports
// whether attempt has returned true. The first call comes at once, also with a patience of 0. No sleep begins after patience,
// so the last call begins at most one interval later. A call of attempt is not interrupted.
func Until(patience, interval time.Duration, attempt func() bool) bool {
	for begin := time.Now(); !attempt(); time.Sleep(interval) {
		if time.Since(begin) >= patience {
			return false
		}
	}
	return true
}
