// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net/netip"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// connect gives the veth pod addresses of the clients' networks, and the clients' Ethernet addresses.
func connect(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"link", "set", "pod", "up"}, {"link", "set", "eth", "up"},
		{"addr", "add", "10.244.1.1/24", "dev", "pod"}, {"-6", "addr", "add", "fd00:244::1/64", "dev", "pod", "nodad"},
		{"neigh", "replace", client4.String(), "lladdr", "02:00:00:00:00:04", "dev", "pod"},
		{"neigh", "replace", client6.String(), "lladdr", "02:00:00:00:00:06", "dev", "pod"},
		{"neigh", "replace", "fe80::2", "lladdr", "02:00:00:00:00:07", "dev", "pod"},
	} {
		nettest.Command(t, "ip", args...)
	}
}

// TestPath asks where answers would go.
func TestPath(t *testing.T) {
	nettest.InNamespace(t)
	added(t, "pod index 4242 type veth peer name eth")
	added(t, "other index 4243 type veth peer name eth2")
	connect(t)
	for _, args := range [][]string{
		{"addr", "add", server4.String() + "/32", "dev", "lo"}, {"-6", "addr", "add", server6.String() + "/128", "dev", "lo", "nodad"},
		{"link", "set", "other", "up"}, {"link", "set", "eth2", "up"},
		{"addr", "add", "10.244.2.1/24", "dev", "other"},
		{"route", "add", "192.0.2.0/24", "via", client4.String()}, {"-6", "route", "add", "2001:db8::/64", "via", client6.String()},
	} {
		nettest.Command(t, "ip", args...)
	}
	for _, c := range []struct {
		client  string
		ifindex uint32
		mac     uint64
		ok      bool
	}{
		{client4.String(), 4242, 0x04<<40 | 2, true},
		{client6.String(), 4242, 0x06<<40 | 2, true},
		{"fe80::2", 4242, 0x07<<40 | 2, true},
		{"192.0.2.9", 4242, 0x04<<40 | 2, true},   // behind a router
		{"2001:db8::9", 4242, 0x06<<40 | 2, true}, // too
		{"10.244.1.1", loopback, 0, true},         // the host itself
		{"fd00:244::1", loopback, 0, true},
		{client4.String(), 4243, 0, false}, // the pod's address, by another interface
		{client6.String(), 4243, 0, false},
		{"fe80::2", 4243, 0, false},
		{client4.String(), loopback, 0, false},
		{"10.244.1.1", 4242, 0, false},   // the host's address
		{"10.244.1.9", 4242, 0, false},   // nobody knows its Ethernet address
		{"198.51.100.1", 4242, 0, false}, // no route
	} {
		client := netip.MustParseAddr(c.client)
		server := server6
		if client.Is4() {
			server = server4
		}
		if mac, ok := pathTo(client, server, c.ifindex); mac != c.mac || ok != c.ok {
			t.Errorf("%s at %d: %012x, %v; want %012x, %v", c.client, c.ifindex, mac, ok, c.mac, c.ok)
		}
	}
}
