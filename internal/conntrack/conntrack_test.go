// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestForget plants what answers of the cache leave behind, beside connections that are to stay: of clients, of the same
// addresses from other ports, of other addresses from port 53, of a protocol without ports, and in a zone.
func TestForget(t *testing.T) {
	nettest.InNamespace(t)
	plant := func(source, destination string, more ...string) string {
		args := append([]string{"-I", "-s", source, "-d", destination, "-t", "60"}, more...)
		nettest.Command(t, "conntrack", args...)
		return source
	}
	udp := func(from, to int) []string {
		return []string{"-p", "udp", "--sport", fmt.Sprint(from), "--dport", fmt.Sprint(to)}
	}
	tcp := []string{"-p", "tcp", "--sport", "53", "--dport", "40001", "--state", "ESTABLISHED"}
	plant("169.254.20.10", "10.244.1.2", udp(53, 40000)...)
	plant("10.96.0.10", "10.244.1.2", tcp...)
	plant("169.254.20.10", "10.244.1.3", append(udp(53, 40000), "-w", "7")...)
	plant("fd00:96::a", "fd00:244::2", udp(53, 40000)...)
	plant("10.244.1.2", "169.254.20.10", udp(40002, 53)...)
	plant("169.254.20.10", "10.96.0.10", udp(40003, 53)...)
	plant("10.244.2.2", "10.244.1.2", udp(53, 40000)...)
	plant("169.254.20.10", "10.244.1.4", "-p", "icmp", "--icmp-type", "8", "--icmp-code", "0", "--icmp-id", "53")

	addrs := nettest.Addrs("169.254.20.10 10.96.0.10 fd00:96::a")
	if removed, err := Forget(addrs, 53); removed != 4 || err != nil {
		t.Errorf("removed %d, %v; want 4", removed, err)
	}
	left := nettest.Command(t, "conntrack", "-L") + nettest.Command(t, "conntrack", "-L", "-f", "ipv6")
	for _, want := range []string{"sport=40002", "sport=40003", "src=10.244.2.2", "dst=10.244.1.4"} {
		if !strings.Contains(left, want) {
			t.Errorf("%s has gone:\n%s", want, left)
		}
	}
	if n := strings.Count(left, "dport=40000 ") + strings.Count(left, "dport=40001"); n != 1 {
		t.Errorf("%d connections from port 53 are left, want that of another address alone:\n%s", n, left)
	}
	if removed, err := Forget(addrs, 53); removed != 0 || err != nil {
		t.Errorf("again: removed %d, %v", removed, err)
	}
}

// TestOriginOfAnything has origin read what no kernel sends.
func TestOriginOfAnything(t *testing.T) {
	for _, entry := range [][]byte{nil, {2, 0}, {2, 0, 0, 0, 255, 255, 1, 0}, {2, 0, 0, 0, 8, 0, 1, 0, 3, 0, 1, 0}} {
		if got := origin(entry); got != (netip.AddrPort{}) {
			t.Errorf("% x: %s", entry, got)
		}
	}
}
