// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
)

// lurk has a server of the host's take port 53 of an address as soon as it can, as dnsmasq does with bind-dynamic, only faster: it
// tries without a pause. What it returns ends that, and tells the error of the last attempts.
func lurk(t *testing.T, l *lab.Lab, a netip.Addr) (end func() error) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var last error
	var held []int
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			last = l.Node.Run(func() error {
				var errs []error
				for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
					fd, err := listenAt(kind, a)
					if err == nil {
						held = append(held, fd)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		}
	})
	ended := sync.OnceFunc(func() {
		close(quit)
		wg.Wait()
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	})
	t.Cleanup(ended)
	return func() error {
		ended()
		if len(held) > 0 {
			return fmt.Errorf("it took the port %d times", len(held))
		}
		return last
	}
}

func listenAt(kind int, a netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: 53, Addr: a.As4()}))
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 5)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// TestDnsmasqDynamic has a server of the host's wait for the cache's addresses, to listen there. The cache has them first, at each of
// some starts, and serves.
func TestDnsmasqDynamic(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	var ends []func() error
	for _, a := range ipv4 {
		ends = append(ends, lurk(t, l, a))
	}
	c := start(t, l, options{firewall: lab.IPTablesNFT})
	for range 4 {
		c.term(t)
		c = c.again(t)
	}
	servedAt(t, l.Pod, ipv4)
	for _, end := range ends {
		if err := end(); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("the other server: %v", err)
		}
	}
}

// TestPortHeld has a server of the host's listen at all addresses. The one line on stderr says who that is.
func TestPortHeld(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	end := lurk(t, l, netip.IPv4Unspecified())
	lab.Until(t, steeringTimeout, "other server", func() error {
		_, err := l.Outside.Dial("tcp", lab.Port53(netip.MustParseAddr("192.168.9.1")), steeringTimeout)
		return err
	})
	c := launch(t, l, options{firewall: lab.IPTablesNFT})
	if code := c.Wait(t, steeringTimeout); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := fmt.Sprintf(":53 is held by pid %d (", os.Getpid())
	if text := c.Errors(); !strings.Contains(text, "address already in use: another DNS server listens there;") || !strings.Contains(text, want) || strings.Contains(text, "\n") {
		t.Errorf("said:\n%s\nwant: %s", text, want)
	}
	if err := end(); err == nil {
		t.Error("the other server never listened")
	}
}
