// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
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
		if got := explain(errors.New(tt.err), 53).Error(); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.err, got, tt.want)
		}
	}
}
