// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// eventually waits until ok, for at most a generous bound.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// needsDummy skips the test where the kernel has no dummy links.
func needsDummy(t *testing.T) {
	t.Helper()
	if !nettest.Try("ip link add probe type dummy") {
		t.Skip("this kernel has no dummy links")
	}
	nettest.Command(t, "ip", "link", "del", "probe")
}
