// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
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
		{"directory as interface", func(c *Config) { c.Interface = ".." }, `interface "..": want 1 to 14 characters without space, slash, colon or percent sign`},
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

// TestConfigEqual changes each field.
func TestConfigEqual(t *testing.T) {
	if !testConfig().Equal(testConfig()) || !(Config{}).Equal(Config{Addresses: []netip.Addr{}}) {
		t.Error("the same is not equal")
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		c := testConfig()
		switch f := reflect.ValueOf(&c).Elem().FieldByIndex(field.Index); f.Kind() {
		case reflect.String:
			f.SetString("another")
		case reflect.Uint16:
			f.SetUint(7)
		case reflect.Int64:
			f.SetInt(7)
		default:
			f.Set(reflect.ValueOf(nettest.Addrs("192.0.2.1")))
		}
		if c.Equal(testConfig()) || testConfig().Equal(c) {
			t.Errorf("another %s, and still equal", field.Name)
		}
	}
}
