// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Instances on one node know of each other by abstract unix sockets: these
// belong to the network namespace, as all else here does, and the kernel closes
// them with the process.

// maxInstances bounds how many may run side by side; an update needs two.
const maxInstances = 4

// socketPrefix begins the names; the first byte makes them abstract.
const socketPrefix = "@nodelocaldns/"

// A claim is a name that this process holds.
type claim struct{ fd int }

// takeClaim returns nil without an error if somebody else holds the name.
func takeClaim(name string) (*claim, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a unix socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: socketPrefix + name})
	if err == nil {
		return &claim{fd}, nil
	}
	_ = unix.Close(fd) // unbound: closing it cannot lose anything
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, nil
	}
	return nil, fmt.Errorf("binding the unix socket %s: %w", socketPrefix+name, err)
}

func (c *claim) release() {
	if c != nil {
		_ = unix.Close(c.fd) // the name goes in any case
	}
}

// isClaimed reports whether somebody holds the name. What it cannot find out is
// taken for a yes, which leaves the rules alone; a security module that keeps
// pods apart denies the connection to a name that is held, and only that.
func isClaimed(name string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socketPrefix + name})
	return !errors.Is(err, unix.ECONNREFUSED)
}

// takeSlot returns the lowest free number of an instance.
func takeSlot() (int, *claim, error) {
	for slot := range maxInstances {
		c, err := takeClaim(strconv.Itoa(slot))
		if c != nil || err != nil {
			return slot, c, err
		}
	}
	return 0, nil, fmt.Errorf("%d instances run in this network namespace already", maxInstances)
}

// peers returns the number of other live instances.
func peers(own int) int {
	n := 0
	for slot := range maxInstances {
		if slot != own && isClaimed(strconv.Itoa(slot)) {
			n++
		}
	}
	return n
}

// takeTurn claims the right to change rules that instances share. Who leaves
// holds it until its sockets are closed, so that nobody steers to them again.
func takeTurn() (*claim, error) { return takeClaim("turn") }
