// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestLook looks at a node before, with and after a network, and sees that looking changes nothing.
func TestLook(t *testing.T) {
	nettest.InNamespace(t)
	look := func() (instances, found []string) {
		t.Helper()
		before := tables(t)
		instances, found, err := Look(DefaultInterface)
		if err != nil {
			t.Error(err)
		}
		if after := tables(t); after != before {
			t.Errorf("looking has changed\n%s\nto\n%s", before, after)
		}
		return instances, found
	}
	if instances, found := look(); len(instances)+len(found) > 0 {
		t.Errorf("%q, %q on an empty node", instances, found)
	}
	c := testConfig()
	n := open(t, c)
	if err := steerTo(n, c.Addresses); err != nil {
		t.Fatal(err)
	}
	instances, found := look()
	if len(instances) != 1 || !strings.HasPrefix(instances[0], "udp 127.53.0.1:60 is held by pid ") {
		t.Errorf("instances %q", instances)
	}
	for _, want := range []string{"link " + c.Interface + " (tuntap) with " + c.Addresses[0].String(), "nftables table ip nodelocaldns"} {
		if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no %q among %q", want, found)
		}
	}
	left := Leases(c.Addresses)
	for _, a := range c.Addresses {
		if d := left[a]; d <= 0 || d > c.Lease || d < c.Lease-2*time.Second {
			t.Errorf("%s: a lease of %s is left of %s", a, d, c.Lease)
		}
	}
	closeNetwork(t, n)
	if instances, _ := look(); len(instances) > 0 {
		t.Errorf("instances %q after the end", instances)
	}
	if left := Leases(c.Addresses); len(left) > 0 {
		t.Errorf("leases %v after the end", left)
	}
}
