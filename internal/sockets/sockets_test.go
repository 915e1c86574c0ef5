// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestList has a UDP socket of each family with a query that waits, one with a peer, and one of TCP that listens.
func TestList(t *testing.T) {
	nettest.InNamespace(t)
	for _, addr := range []string{"127.0.0.1:53", "[::1]:53"} {
		at := netip.MustParseAddrPort(addr)
		server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Write([]byte("query")); err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		find := func(network string, at netip.AddrPort) Socket {
			all, err := List(network)
			i := slices.IndexFunc(all, func(s Socket) bool { return s.Local == at })
			if err != nil || i < 0 {
				t.Fatalf("%s %s is not among %v, %v", network, at, all, err)
			}
			return all[i]
		}
		if s := find("udp", at); !s.Bound || s.Queue == 0 || s.inode == 0 {
			t.Errorf("the server: %+v", s)
		}
		if s := find("udp", client.LocalAddr().(*net.UDPAddr).AddrPort()); s.Bound || s.Queue != 0 {
			t.Errorf("the client: %+v", s)
		}
		if s := find("tcp", at); !s.Bound {
			t.Errorf("the listener: %+v", s)
		}
	}
}

func TestListens(t *testing.T) {
	nettest.InNamespace(t)
	for _, tt := range []struct{ listener, at string }{{"127.0.0.1:9253", "127.0.0.1:9253"}, {":9253", ":9253"}, {":9253", "127.0.0.1:9253"}, {"[::1]:9253", "[::1]:9253"}} {
		addr, err := net.ResolveTCPAddr("tcp", tt.at)
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", tt.listener)
		if err != nil {
			t.Fatal(err)
		}
		if !Listens(Of(addr)) {
			t.Errorf("%s: nobody listens at %s", tt.listener, tt.at)
		}
		other := Of(addr)
		if other = netip.AddrPortFrom(other.Addr(), 9254); Listens(other) {
			t.Errorf("%s: somebody listens at %s", tt.listener, other)
		}
		listener.Close()
		if Listens(Of(addr)) {
			t.Errorf("%s has been closed, and somebody listens at %s", tt.listener, tt.at)
		}
	}
}
