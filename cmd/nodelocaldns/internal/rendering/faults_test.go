// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	tests := []struct{ err, want string }{
		{"Listen: listen tcp 10.0.0.1:53: bind: address already in use",
			"listening on 10.0.0.1:53 (tcp): address already in use: another DNS server listens there; stop it or change -localip or -dns.port"},
		{"ListenPacket: listen udp [fd00::a]:53: bind: address already in use",
			"listening on [fd00::a]:53 (udp): address already in use: another DNS server listens there; stop it or change -localip or -dns.port"},
		{"listen tcp 10.0.0.1:8080: bind: address already in use",
			"listening on 10.0.0.1:8080 (tcp): address already in use: another program listens there; stop it or change the Corefile"},
		{"Listen: listen tcp 10.0.0.1:53: bind: permission denied",
			"listening on 10.0.0.1:53 (tcp): permission denied: this port needs root or CAP_NET_BIND_SERVICE"},
		{"Listen: listen tcp 10.0.0.1:53: bind: cannot assign requested address",
			"listening on 10.0.0.1:53 (tcp): cannot assign requested address: no interface has this address; is -setupinterface=false or link none in effect?"},
		{"Listen: listen tcp 10.0.0.1:53: bind: no buffer space available", "listening on 10.0.0.1:53 (tcp): no buffer space available"},
		{"plugin/cache: Corefile:3 - Error during parsing: wrong", "plugin/cache: Corefile:3: wrong"},
		{"something else", "something else"},
	}
	for _, tt := range tests {
		if got := Explain(errors.New(tt.err), 53).Error(); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.err, got, tt.want)
		}
	}
}

// TestExplainHolder names who has the port: this test.
func TestExplainHolder(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		addr, free := occupied(t, network)
		said := fmt.Sprintf("listen %s %s: bind: address already in use", network, addr)
		want := fmt.Sprintf("; %s %s is held by pid %d (", network, addr, os.Getpid())
		if got := Explain(errors.New(said), 53).Error(); !strings.Contains(got, want) {
			t.Errorf("got %s, want it to have %s", got, want)
		}
		free()
		if got := Explain(errors.New(said), 53).Error(); strings.Contains(got, "held") {
			t.Errorf("the port is free, got %s", got)
		}
	}
}

// occupied listens at a port until it is freed.
func occupied(t *testing.T, network string) (addr string, free func()) {
	t.Helper()
	if network == "udp" {
		conn, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return conn.LocalAddr().String(), func() { _ = conn.Close() }
	}
	l, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), func() { _ = l.Close() }
}
