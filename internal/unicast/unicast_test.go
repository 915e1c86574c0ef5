// SPDX-License-Identifier: Apache-2.0

package unicast

import (
	"net/netip"
	"testing"
)

func TestCheck(t *testing.T) {
	for addr, want := range map[string]struct{ host, service string }{
		"10.96.0.10":        {"", ""},
		"169.254.20.10":     {"", ""},
		"fd00::a":           {"", ""},
		"fe80::1%eth0":      {"", ""},
		"0.0.0.0":           {"0.0.0.0 is the unspecified address, not that of one host", "0.0.0.0 is the unspecified address, not that of one host"},
		"::":                {":: is the unspecified address, not that of one host", ":: is the unspecified address, not that of one host"},
		"::ffff:0.0.0.0":    {"0.0.0.0 is the unspecified address, not that of one host", "0.0.0.0 is the unspecified address, not that of one host"},
		"224.0.0.1":         {"224.0.0.1 is a multicast address, not that of one host", "224.0.0.1 is a multicast address, not that of one host"},
		"ff02::1%eth0":      {"ff02::1 is a multicast address, not that of one host", "ff02::1 is a multicast address, not that of one host"},
		"255.255.255.255":   {"255.255.255.255 is the broadcast address, not that of one host", "255.255.255.255 is the broadcast address, not that of one host"},
		"127.0.0.53":        {"", "127.0.0.53 is a loopback address, which no Service has"},
		"::1":               {"", "::1 is a loopback address, which no Service has"},
		"::ffff:127.0.0.53": {"", "::ffff:127.0.0.53 is a loopback address, which no Service has"},
	} {
		a := netip.MustParseAddr(addr)
		if host, service := text(Check(a)), text(CheckService(a)); host != want.host || service != want.service {
			t.Errorf("%s: got %q and %q, want %q and %q", addr, host, service, want.host, want.service)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
