// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"
	"time"
)

// Until calls f every few milliseconds until it returns nil, and fails the test with f's last error when that takes longer
// than the timeout. It returns how long it took.
func Until(t testing.TB, timeout time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > timeout {
			t.Fatalf("no %s within %s: %v", what, timeout, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
