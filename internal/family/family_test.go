// SPDX-License-Identifier: Apache-2.0

package family

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestAmong(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, tc := range []struct {
		addrs []netip.Addr
		want  string
	}{
		{nil, "[] [] []"},
		{[]netip.Addr{v4}, "[ip] [10.0.0.1] []"},
		{[]netip.Addr{v6, v4}, "[ip ip6] [10.0.0.1] [fd00::1]"},
		{[]netip.Addr{v6, v6}, "[ip6] [] [fd00::1 fd00::1]"},
	} {
		if got := fmt.Sprint(Among(tc.addrs), IPv4.Only(tc.addrs), IPv6.Only(tc.addrs)); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.addrs, got, tc.want)
		}
	}
}
