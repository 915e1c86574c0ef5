// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"
	"time"
)

// Until calls f every 10 ms until f returns nil, and returns how long that took. After the timeout it fails the test with the
// last error of f.
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
