// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

func TestConfigValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // the error; empty: none
	}{
		{"good", func(*Config) {}, ""},
		{"no lease", func(c *Config) { c.Lease = 0 }, ""},
		{"no fallback", func(c *Config) { c.Fallback, c.FallbackZone = nil, 0 }, ""},
		{"last zones", func(c *Config) { c.FallbackZone = 65532 }, ""},
		{"empty interface", func(c *Config) { c.Interface = "" }, `interface "": want 1 to 14 characters without space, slash, colon or percent sign`},
		{"long interface", func(c *Config) { c.Interface = "abcdefghijklmno" }, `interface "abcdefghijklmno": want 1 to 14 characters without space, slash, colon or percent sign`},
		{"format in interface", func(c *Config) { c.Interface = "dns%d" }, `interface "dns%d": want 1 to 14 characters without space, slash, colon or percent sign`},
		{"link", func(c *Config) { c.Link = "veth" }, `link "veth": want auto, tun, dummy or none`},
		{"firewall", func(c *Config) { c.Firewall = "ufw" }, `firewall "ufw": want auto, iptables, nftables or none`},
		{"short lease", func(c *Config) { c.Lease = time.Second }, "lease 1s: want 0 or whole seconds from 2s to 1h"},
		{"broken lease", func(c *Config) { c.Lease = 2500 * time.Millisecond }, "lease 2.5s: want 0 or whole seconds from 2s to 1h"},
		{"no address", func(c *Config) { c.Addresses = nil }, "no address: name the cache's addresses, or bind the server block to them"},
		{"unspecified", func(c *Config) { c.Addresses = nettest.Addrs("0.0.0.0") }, "address 0.0.0.0 is the unspecified address, not that of one host"},
		{"zone", func(c *Config) { c.Addresses = nettest.Addrs("fe80::1%eth0") }, "address fe80::1%eth0: want one without a zone, and IPv4 not mapped to IPv6"},
		{"loopback", func(c *Config) { c.Addresses = nettest.Addrs("127.0.0.53") }, "address 127.0.0.53: a loopback address cannot be put on a link of its own"},
		{"twice", func(c *Config) { c.Addresses = nettest.Addrs("10.0.0.1 10.0.0.1") }, "address 10.0.0.1: given twice"},
		{"two fallbacks", func(c *Config) { c.Fallback = nettest.Addrs("10.0.0.1 10.0.0.2") }, "fallback 10.0.0.2: 10.0.0.1 is given already; one address a family"},
		{"fallback", func(c *Config) { c.Fallback = nettest.Addrs("127.0.0.1") }, "fallback 127.0.0.1 is a loopback address, which no Service has; want the address of the cluster DNS Service"},
		{"broadcast as fallback", func(c *Config) { c.Fallback = nettest.Addrs("255.255.255.255") }, "fallback 255.255.255.255 is the broadcast address, not that of one host; want the address of the cluster DNS Service"},
		{"fallback of the link", func(c *Config) { c.Fallback = nettest.Addrs("169.254.20.10") }, "fallback 169.254.20.10: want the address of the cluster DNS Service"},
		{"no zone", func(c *Config) { c.FallbackZone = 0 }, "fallback zone 0: want a conntrack zone from 1 to 65532, one for each address from there on"},
		{"zones past the end", func(c *Config) { c.FallbackZone = 65533 }, "fallback zone 65533: want a conntrack zone from 1 to 65532, one for each address from there on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := testConfig()
			tc.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestIsRulesError has an error of each room.
func TestIsRulesError(t *testing.T) {
	nettest.InNamespace(t)
	nettest.ToolsOf(t)
	_, noCommand := xtables.New("", family.Both)
	var b nft.Batch
	b.DeleteTable(family.IPv4, "absent")
	_, _, taken := link.Open(link.TUN, "lo", nil)
	for _, tc := range []struct {
		err  error
		want bool
	}{{noCommand, true}, {fmt.Errorf("setting rules: %w", b.Commit()), true}, {taken, false}, {errors.New("iptables"), false}} {
		if got := IsRulesError(tc.err); tc.err == nil || got != tc.want {
			t.Errorf("%v: got %t, want %t", tc.err, got, tc.want)
		}
	}
}
