// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRoom sends 2,000 queries before any is read.
func TestRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has more room than the kernel's default")
	}
	addr := netip.MustParseAddrPort(freePort(t))
	l := &listener{addr: addr, local: net.UDPAddrFromAddrPort(addr)}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c := dial(t, addr.String())
	const queries = 2000
	for range queries {
		if _, err := c.Write(make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	n, buf := 0, make([]byte, maxQuery)
	err := l.control(func(fd int) error {
		for {
			if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
				return err
			}
			n++
		}
	})
	if n != queries || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d of %d were there; %v", n, queries, err)
	}
}
