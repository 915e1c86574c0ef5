// SPDX-License-Identifier: Apache-2.0

// Package unicast checks that an address from a flag, a Corefile, a ConfigMap or the environment belongs to one host or Service.
package unicast

import (
	"fmt"
	"net/netip"
)

// Check returns an error if a is the unspecified address, a multicast address (RFC 1112, RFC 4291) or the limited broadcast address
// (RFC 919). A loopback address passes: it belongs to the host itself.
func Check(a netip.Addr) error {
	kind := ""
	switch a = a.Unmap().WithZone(""); {
	case a.IsUnspecified():
		kind = "the unspecified address"
	case a.IsMulticast():
		kind = "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		kind = "the broadcast address"
	default:
		return nil
	}
	return fmt.Errorf("%s is %s, not that of one host", a, kind)
}

// CheckService returns an error if Check does, or if a is a loopback address: no Service has one.
func CheckService(a netip.Addr) error {
	if a.Unmap().IsLoopback() {
		return fmt.Errorf("%s is a loopback address, which no Service has", a)
	}
	return Check(a)
}
