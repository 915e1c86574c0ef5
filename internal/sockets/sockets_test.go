// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseSocket(t *testing.T) {
	for line, want := range map[string]string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops":                              "",
		" 1055: 0A14FEA9:0035 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 28187 2 0000000000000000 0":                          "169.254.20.10:53 true 768 0 28187",
		"   23: 0100007F:0277 0200007F:D431 01 00000000:00000000 00:00000000 00000000 65534        0 9 1":                                                 "127.0.0.1:631 false 0 65534 9",
		"  10: 000000FD000000000000000010000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 101 0 7 2 0000000 0": "[fd00::10]:53 true 0 101 7",
		" 1: 0A14FE:0035 00000000:0000 07 0:0 0:0 0 0 0 1 2":                                                                                              "",
		" 1: 0A14FEA9:0035 00000000:0000 07 0:0 0:0 0 root 0 1 2 0":                                                                                       "",
	} {
		s, ok := parseSocket(strings.Fields(line))
		got := ""
		if ok {
			got = fmt.Sprint(s.Local, s.Bound, s.Queue, s.uid, s.inode)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}
